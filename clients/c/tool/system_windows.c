/* SPDX-License-Identifier: MIT */
#define WIN32_LEAN_AND_MEAN
#define NO_OLDNAMES     /* of functions of POSIX, of which tell() is one */
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/* How long Windows waits for a program whose window was closed, in ms. */
#define PATIENCE_MS 4000

#define STANDARD_INPUT 0

static HANDLE main_thread;
static volatile LONG was_interrupted;
static UINT code_page;      /* of the console, before it was made UTF-8 */

/* What the input thread has read. It reads again when all of it was taken. */
static struct {
    HANDLE thread;          /* NULL: nobody has waited for input yet */
    HANDLE wanted, there;   /* events */
    char octets[65536];
    size_t length, taken;
} input;

static void CALLBACK wake_up(ULONG_PTR unused)
{
    (void)unused;
}

/* Runs in a thread of its own. What the main thread waits for ends by what is queued for it, also if it waits later. */
static BOOL WINAPI interrupt(DWORD event)
{
    InterlockedExchange(&was_interrupted, 1);
    QueueUserAPC(wake_up, main_thread, 0);
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
        WaitForSingleObject(main_thread, PATIENCE_MS); /* the program ends when this returns */
    return TRUE;
}

static void restore_console(void)
{
    SetConsoleOutputCP(code_page);
}

/* Lines from a console end with \r\n, and its input with ^Z, which the C library sees to. Names of devices are UTF-8. */
void prepare_system(void)
{
    HANDLE process = GetCurrentProcess();

    DuplicateHandle(process, GetCurrentThread(), process, &main_thread, 0, FALSE, DUPLICATE_SAME_ACCESS);
    SetConsoleCtrlHandler(interrupt, TRUE);
    _setmode(STANDARD_INPUT, _isatty(STANDARD_INPUT) ? _O_TEXT : _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    code_page = GetConsoleOutputCP();
    if (code_page && SetConsoleOutputCP(CP_UTF8))
        atexit(restore_console);
}

bool interrupted(void)
{
    return was_interrupted != 0;
}

uint64_t now_us(void)
{
    LARGE_INTEGER frequency, now;

    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&now);
    return (uint64_t)(now.QuadPart / frequency.QuadPart * 1000000 +
                      now.QuadPart % frequency.QuadPart * 1000000 / frequency.QuadPart);
}

void sleep_us(uint64_t us)
{
    SleepEx((DWORD)((us + 999) / 1000), TRUE);
}

/* Standard input may be a pipe, for which Windows cannot wait: so this thread does. */
static DWORD WINAPI read_for_ever(void *unused)
{
    int got;

    (void)unused;
    do {
        WaitForSingleObject(input.wanted, INFINITE);
        got = _read(STANDARD_INPUT, input.octets, sizeof(input.octets));
        input.length = got > 0 ? (size_t)got : 0;
        input.taken = 0;
        SetEvent(input.there);
    } while (got > 0);
    return 0;
}

static void begin_to_read(void)
{
    input.wanted = CreateEventW(NULL, FALSE, TRUE, NULL);
    input.there = CreateEventW(NULL, TRUE, FALSE, NULL);
    input.thread = CreateThread(NULL, 0, read_for_ever, NULL, 0, NULL);
}

bool wait_for_input(struct vl2cap *device, bool wanted, int timeout_ms)
{
    HANDLE events[2] = {vl2cap_event(device)};
    int ours = vl2cap_timeout(device);

    if (wanted && !input.thread)
        begin_to_read();
    events[1] = input.there;
    if (ours >= 0 && (timeout_ms < 0 || ours < timeout_ms))
        timeout_ms = ours;
    WaitForMultipleObjectsEx(wanted ? 2 : 1, events, FALSE, timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms, TRUE);
    return wanted && WaitForSingleObject(input.there, 0) == WAIT_OBJECT_0;
}

size_t read_input(void *octets, size_t size)
{
    size_t rest = input.length - input.taken, count = rest < size ? rest : size;

    memcpy(octets, input.octets + input.taken, count);
    input.taken += count;
    if (count == rest && count) {
        ResetEvent(input.there);
        SetEvent(input.wanted);
    }
    return count;
}
