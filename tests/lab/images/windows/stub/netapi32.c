/* Copyright (c) 2026, virtops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
/* Wine's netapi32.dll ends the process that sets a password. This one knows the user "tester", and passwords from 4 characters on. */
#include <windows.h>
#include <lm.h>
#include <wchar.h>

NET_API_STATUS WINAPI own_NetUserSetInfo(LPCWSTR server, LPCWSTR user, DWORD level, LPBYTE data, LPDWORD wrong)
{
    (void)server;
    (void)level;
    (void)wrong;
    if (_wcsicmp(user, L"tester"))
        return NERR_UserNotFound;
    return wcslen(((USER_INFO_1003 *)data)->usri1003_password) < 4 ? NERR_PasswordTooShort : 0;
}

NET_API_STATUS WINAPI own_NetUserGetInfo(LPCWSTR server, LPCWSTR user, DWORD level, LPBYTE *data)
{
    (void)server;
    (void)user;
    (void)level;
    *data = NULL;
    return NERR_UserNotFound;
}

NET_API_STATUS WINAPI own_NetApiBufferFree(LPVOID data) { (void)data; return 0; }
BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved) { (void)instance; (void)reason; (void)reserved; return TRUE; }
