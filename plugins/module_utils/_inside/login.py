# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a login gives a command: its user, its directory and its environment. Parts of the scripts of ``login_shell``, which has
the legend of their variables. POSIX sh. Pure.
"""

from __future__ import annotations

import shlex
import typing as t

#: Root's, where the guest says nothing else.
PATH: t.Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What getent finds begins with another name where the user has several. A number is no name.
ACCOUNT: t.Final = """
entry() { IFS=: read -r n x i g x h s <<END
$1
END
}
n= i=; while IFS= read -r l; do case $l in "$U":*) entry "$l"; break ;; esac; done </etc/passwd
if [ -z "$n" ]; then
  case $U in -*) l= ;; *) l=$(getent passwd "$U" 2>/dev/null) ;; esac
  case $U in *[!0-9]*) ;; *) case $l in "$U":*) ;; *) l= ;; esac ;; esac
  entry "$l"
  case $i:$g in *[!0-9:]* | :* | *:) refuse user ;; esac
  U=$n
fi
cd "$h" 2>/dev/null || cd /
"""
#: For root a refusal is known beforehand. Another user may not be permitted to enter, which only trying shows.
CHDIR: t.Final = """
if [ "$i" = 0 ]; then cd -- "$D" >/dev/null 2>&1 || refuse chdir
else
  [ -d "$D" ] || refuse chdir
  set -- /bin/sh -c 'CDPATH= cd -- "$0" && unset OLDPWD && exec "$@"' "$D" "$@"
fi
"""
#: runuser tells that setpriv is the one of util-linux; the one of busybox changes no user.
SWITCH: t.Final = """
if [ "$i" != 0 ]; then
  p=/usr/bin/setpriv; [ -x $p ] || p=/run/current-system/sw/bin/setpriv
  if [ -x $p ] && { [ -x /usr/sbin/runuser ] || [ -x /run/current-system/sw/bin/runuser ]; }; then
    set -- $p "--reuid=$i" "--regid=$g" --init-groups -- "$@"
  elif command -v su >/dev/null; then
    set -- "$(command -v su)" "$U" -s /bin/sh -c 'exec "$@"' -- sh "$@"
  else refuse switch; fi
fi
"""
#: What sshd and PAM give a session that runs one command: no profile is read.
ENVIRONMENT: t.Final = f"""
PATH=/usr/local/bin:/usr/bin:/bin:/usr/games; [ "$i" != 0 ] || PATH={PATH}
if [ -d /run/current-system/sw/bin ]; then
  PATH=$PATH:/run/wrappers/bin:$h/.nix-profile/bin:/etc/profiles/per-user/$U/bin
  PATH=$PATH:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin
fi
for f in /etc/environment /etc/default/locale /etc/locale.conf; do
  [ -s "$f" ] && while IFS= read -r l; do
    k=${{l%%=*}}
    case $k in "$l" | "" | [!A-Za-z_]* | *[!A-Za-z0-9_]* | [a-zA-Z] | IFS | UID | EUID | PPID) continue ;; esac
    v=${{l#*=}}; v=${{v#[\\"\\']}}; v=${{v%[\\"\\']}}; export "$k=$v"
  done <"$f"
done
[ -d "/run/user/$i" ] && export XDG_RUNTIME_DIR="/run/user/$i"
m=022
if [ "$i" != 0 ] && [ -r /etc/pam.d/common-session ] && [ -r /etc/login.defs ]; then
  while IFS= read -r l; do case $l in [!#]*pam_umask*) m=; break ;; esac; done </etc/pam.d/common-session
  if [ -z "$m" ]; then
    y=; while read -r k v x; do case $k in UMASK) m=$v ;; USERGROUPS_ENAB) y=$v ;; esac; done </etc/login.defs
    m=${{m:-022}}
    case $y in [Yy][Ee][Ss])
      y=; while IFS=: read -r k x v x; do [ "$v" != "$g" ] || {{ y=$k; break; }}; done </etc/group
      [ -n "$y" ] || {{ y=$(getent group "$g" 2>/dev/null); y=${{y%%:*}}; }}
      [ "$y" = "$U" ] && m=$(printf %04o $(( 0$m & ~070 | (0$m & 0700) >> 3 ))) ;;
    esac
  fi
fi
HOME=$h USER=$U LOGNAME=$U SHELL=${{s:-/bin/sh}}
export HOME USER LOGNAME SHELL PATH
"""
#: Where all of it comes from: as long as none of these changes, a login does not either.
FILES: t.Final = (
    "/etc/passwd",
    "/etc/group",
    "/etc/environment",
    "/etc/default/locale",
    "/etc/locale.conf",
    "/etc/pam.d/common-session",
    "/etc/login.defs",
    "/run/current-system",
)


def told(user: str) -> str:
    """Prints what a login gives, each with a NUL after it: ``account``, name, uid, gid, umask, home, and the environment."""
    return f"""U={shlex.quote(user)}
refuse() {{ printf 'refused %s' "$*"; exit 0; }}
{ACCOUNT}{ENVIRONMENT}unset OLDPWD
printf 'account\\0%s\\0%s\\0%s\\0%s\\0%s\\0' "$U" "$i" "$g" "$m" "$h"
exec cat /proc/self/environ
"""
