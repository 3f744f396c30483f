/* Copyright (c) 2026, virtops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
/* GLib wants a libintl: one that translates nothing. Its attributes are those that GLib's build looks for. */
#ifndef VIRTOPS_LIBINTL_H
#define VIRTOPS_LIBINTL_H 1
#ifndef LC_MESSAGES
#define LC_MESSAGES 2
#endif
#define VIRTOPS_FORMAT(number) __attribute__((__format_arg__(number)))
#ifdef __cplusplus
extern "C" {
#endif
char *gettext(const char *text) VIRTOPS_FORMAT(1);
char *dgettext(const char *domain, const char *text) VIRTOPS_FORMAT(2);
char *dcgettext(const char *domain, const char *text, int category) VIRTOPS_FORMAT(2);
char *ngettext(const char *one, const char *many, unsigned long count) VIRTOPS_FORMAT(1) VIRTOPS_FORMAT(2);
char *dngettext(const char *domain, const char *one, const char *many, unsigned long count) VIRTOPS_FORMAT(2) VIRTOPS_FORMAT(3);
char *dcngettext(const char *domain, const char *one, const char *many, unsigned long count, int category)
    VIRTOPS_FORMAT(2) VIRTOPS_FORMAT(3);
char *textdomain(const char *domain);
char *bindtextdomain(const char *domain, const char *directory);
char *bind_textdomain_codeset(const char *domain, const char *codeset);
#ifdef __cplusplus
}
#endif
#undef VIRTOPS_FORMAT
#endif
