/* Copyright (c) 2026, virtops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
/* Wine's vssapi.dll lacks these two: with them the agent's VSS requester starts, and every freeze fails with E_NOTIMPL. */
#include <windows.h>

HRESULT WINAPI CreateBC(void **components) { *components = NULL; return E_NOTIMPL; }
void WINAPI FreeProps(void *properties) { (void)properties; }
BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved) { (void)instance; (void)reason; (void)reserved; return TRUE; }
