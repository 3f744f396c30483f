/* Copyright (c) 2026, virtops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
/* In the place of PowerShell, which the lab has not: says as JSON what it was given, and does what the line of its script says
 * that has "STAND-IN". It runs no script, and makes the directory that
 * core asks for. What a test sees is the way there and back, and nothing of PowerShell. */
#include <windows.h>
#include <bcrypt.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *utf8(const wchar_t *text)
{
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *bytes = malloc(size);

    WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, size, NULL, NULL);
    return bytes;
}

static void put_json(const wchar_t *text)
{
    char *bytes = utf8(text);

    putchar('"');
    for (const unsigned char *place = (unsigned char *)bytes; *place; place++)
        if (*place < 32 || *place == '"' || *place == '\\')
            printf("\\u%04x", *place);
        else
            putchar(*place);
    putchar('"');
    free(bytes);
}

static wchar_t *decoded(const wchar_t *word)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char *bytes = calloc(wcslen(word) + 2, 1);
    unsigned bits = 0, count = 0, size = 0;

    for (; *word && *word != '='; word++) {
        const char *found = strchr(alphabet, (int)*word);
        if (!found)
            return NULL;
        bits = bits << 6 | (unsigned)(found - alphabet);
        count += 6;
        if (count >= 8)
            bytes[size++] = (unsigned char)(bits >> (count -= 8));
    }
    return (wchar_t *)bytes;
}

static unsigned char *input(size_t *size)
{
    size_t room = 65536, got;
    unsigned char *bytes = malloc(room);

    for (*size = 0; (got = fread(bytes + *size, 1, room - *size, stdin)) > 0;)
        if ((*size += got) == room)
            bytes = realloc(bytes, room *= 2);
    return bytes;
}

static void report(int count, wchar_t **words, const wchar_t *script, unsigned char *bytes, size_t size)
{
    BCRYPT_ALG_HANDLE sha256 = NULL;
    unsigned char digest[32] = {0};
    wchar_t directory[32768], temporary[32768] = L"";

    BCryptOpenAlgorithmProvider(&sha256, BCRYPT_SHA256_ALGORITHM, NULL, 0);
    BCryptHash(sha256, NULL, 0, bytes, (ULONG)size, digest, sizeof digest);
    GetCurrentDirectoryW(32768, directory);
    GetEnvironmentVariableW(L"TEMP", temporary, 32768);
    printf("{\"changed\": false, \"stand_in\": {\"argv\": [");
    for (int place = 0; place < count; place++) {
        printf(place ? ", " : "");
        put_json(words[place]);
    }
    printf("], \"script\": ");
    put_json(script);
    printf(", \"cwd\": ");
    put_json(directory);
    printf(", \"temp\": ");
    put_json(temporary);
    printf(", \"size\": %lu, \"sha256\": \"", (unsigned long)size);
    for (int place = 0; place < 32; place++)
        printf("%02x", digest[place]);
    printf("\"}}\r\n");
}

static const unsigned char *found_in(const unsigned char *bytes, size_t size, const char *text)
{
    for (size_t length = strlen(text); size >= length; bytes++, size--)
        if (!memcmp(bytes, text, length))
            return bytes;
    return NULL;
}

/* The one thing that it does for ansible-core, which cannot do without: make a directory for a task's files, and say where. Its name
 * is in the script up to 2.16, and in the input then. */
static int directory_made(const wchar_t *script, const unsigned char *bytes, size_t size)
{
    static wchar_t path[32768];
    const wchar_t *name = wcsstr(script, L"New-Item") ? wcsstr(script, L"ansible-tmp-1") : NULL;
    const unsigned char *other = found_in(bytes, size, "powershell_mkdtemp") ? found_in(bytes, size, "ansible-tmp-1") : NULL;
    size_t length;
    char *told;

    if (!name && !other)
        return 0;
    ExpandEnvironmentStringsW(L"%TEMP%\\", path, 32768);
    length = wcslen(path);
    for (size_t place = 0; place < 100; place++) {
        wchar_t letter = name ? name[place] : other[place];
        if (!wcschr(L"abcdefghijklmnopqrstuvwxyz-.0123456789", letter) || !letter)
            break;
        path[length++] = letter;
    }
    if (!CreateDirectoryW(path, NULL))
        return 0;
    told = utf8(path);
    printf("%s\r\n", told);
    free(told);
    return 1;
}

/* What the script tells it to do: the exit code. */
static unsigned told(const wchar_t *verb)
{
    unsigned long number = wcstoul(wcschr(verb, ' ') ? wcschr(verb, ' ') : L"", NULL, 0);

    if (!wcsncmp(verb, L"fill", 4)) {
        for (; number > 0; number--)
            putchar('x');
    } else if (!wcsncmp(verb, L"sleep", 5)) {
        Sleep(number * 1000);
    } else if (!wcsncmp(verb, L"utf16", 5)) {
        fwrite(L"\ufeffz\u00fcrich \u20ac\r\n", 2, 11, stdout);
    } else if (!wcsncmp(verb, L"utf8", 4)) {
        fputs("z\xc3\xbcrich \xe2\x82\xac\r\nb\n", stdout);
    } else if (!wcsncmp(verb, L"error", 5)) {
        fputs("#< CLIXML\r\n<Objs Version=\"1.1.0.1\" xmlns=\"http://schemas.microsoft.com/powershell/2004/04\">"
              "<Obj S=\"progress\" RefId=\"0\"><I64 N=\"SourceId\">1</I64></Obj>"
              "<S S=\"Error\">z_x00FC_rich &lt;1&gt;_x000D__x000A_</S></Objs>", stderr);
        return 1;
    } else if (!wcsncmp(verb, L"exit", 4)) {
        return number;
    }
    return 0;
}

int wmain(int count, wchar_t **words)
{
    const wchar_t *script = L"", *verb;
    size_t size;
    unsigned char *bytes;

    for (int place = 0; place < 3; place++)
        _setmode(place, _O_BINARY);
    for (int place = 1; place + 1 < count; place++)
        if (!_wcsicmp(words[place], L"-EncodedCommand"))
            script = decoded(words[place + 1]);
    if (!script)
        return 99;
    bytes = input(&size);
    verb = wcsstr(script, L"STAND-IN ");
    if (verb) {
        unsigned code = told(verb + 9);
        fflush(stdout);
        ExitProcess(code);
    }
    if (!directory_made(script, bytes, size))
        report(count, words, script, bytes, size);
    return 0;
}
