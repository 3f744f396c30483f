/* Copyright (c) 2026, virtops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
/* A program for tests: shows what it was given, as UTF-8, and ends as it is told. */
#include <windows.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(const wchar_t *text)
{
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *bytes = malloc(size);

    WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, size, NULL, NULL);
    fwrite(bytes, 1, size, stdout); /* with the NUL at its end */
    free(bytes);
}

int wmain(int count, wchar_t **words)
{
    const wchar_t *verb = count > 1 ? words[1] : L"";
    static char buffer[65536];
    static wchar_t text[32768];
    int number = count > 2 ? _wtoi(words[2]) : 0;

    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
    _setmode(2, _O_BINARY);
    if (!wcscmp(verb, L"args")) {
        for (int place = 2; place < count; place++)
            put(words[place]);
    } else if (!wcscmp(verb, L"both")) {
        fputs("out\r\n", stdout);
        fputs("err\r\n", stderr);
        return number;
    } else if (!wcscmp(verb, L"exit")) {
        ExitProcess(wcstoul(words[2], NULL, 0));
    } else if (!wcscmp(verb, L"crash")) {
        RaiseException(0xC0000005, EXCEPTION_NONCONTINUABLE, 0, NULL);
    } else if (!wcscmp(verb, L"cat")) {
        size_t size;

        while ((size = fread(buffer, 1, sizeof buffer, stdin)) > 0)
            fwrite(buffer, 1, size, stdout);
    } else if (!wcscmp(verb, L"fill")) {
        memset(buffer, 'x', sizeof buffer);
        for (; number > 0; number -= (int)sizeof buffer)
            fwrite(buffer, 1, number < (int)sizeof buffer ? number : (int)sizeof buffer, stdout);
    } else if (!wcscmp(verb, L"sleep")) {
        Sleep(number * 1000);
    } else if (!wcscmp(verb, L"env")) {
        if (GetEnvironmentVariableW(words[2], text, 32768))
            put(text);
    } else if (!wcscmp(verb, L"cwd")) {
        GetCurrentDirectoryW(32768, text);
        put(text);
    }
    return 0;
}
