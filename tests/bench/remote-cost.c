// What remote-cost measures: the time of single calls, and when calls of this process begin to be carried out elsewhere.
//
//   remote-cost calls LOCAL REMOTE MILLISECONDS TRACED   waits for a tracer if TRACED is 1, then prints `NAME NANOSECONDS COUNT`, each
//                                                        the fastest of several batches; REMOTE `-`: only local ones
//   remote-cost wait REMOTE                              prints CLOCK_MONOTONIC once REMOTE can be opened; then calls until its stdin ends
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char buffer[4096];
static int fd;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_for(long microseconds) {
    nanosleep(&(struct timespec){0, microseconds * 1000}, NULL);
}

static void die(const char *what) {
    fprintf(stderr, "remote-cost: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void call_getppid(void) { getppid(); }
static void call_pread(void) { if (pread(fd, buffer, sizeof buffer, 0) != sizeof buffer) die("pread"); }

// Batches that last a tenth of the time each; the fastest one's time per call.
static void measure(const char *name, void (*call)(void), double seconds) {
    long batch = 1, total = 0;
    double best = 1e9, end = now() + seconds;
    call();
    do {
        double begin = now();
        for (long i = 0; i < batch; i++) call();
        double took = now() - begin;
        total += batch;
        if (took < seconds / 20 && batch < 1 << 24) { batch *= 2; continue; }
        if (took / batch < best) best = took / batch;
    } while (now() < end || best == 1e9);
    printf("%s %.0f %ld\n", name, best * 1e9, total);
    fflush(stdout);
}

static int is_traced(void) {
    char text[4096], *at;
    int status = open("/proc/self/status", O_RDONLY);
    ssize_t size = read(status, text, sizeof text - 1);
    close(status);
    if (size < 0) die("/proc/self/status");
    text[size] = 0;
    at = strstr(text, "TracerPid:");
    return at && atoi(at + 10) != 0;
}

int main(int argc, char **argv) {
    if (argc == 6 && !strcmp(argv[1], "calls")) {
        double seconds = atof(argv[4]) / 1000;
        while (atoi(argv[5]) && !is_traced()) pause_for(1000);
        if ((fd = open(argv[2], O_RDONLY)) < 0) die(argv[2]);
        measure("getppid", call_getppid, seconds);
        measure("pread", call_pread, seconds);
        if (!strcmp(argv[3], "-")) return 0;
        int local = fd, remote = open(argv[3], O_RDONLY);
        if (remote < 0) die(argv[3]);
        measure("getppid_open", call_getppid, seconds);
        measure("pread_open", call_pread, seconds);
        fd = remote;
        measure("pread_remote", call_pread, seconds);
        return close(local) || close(remote);
    }
    if (argc == 3 && !strcmp(argv[1], "wait")) {
        while ((fd = open(argv[2], O_RDONLY)) < 0) pause_for(100);
        printf("%.9f\n", now());
        fflush(stdout);
        close(fd);
        for (struct pollfd in = {0, POLLIN, 0}; poll(&in, 1, 1) == 0;) getppid();
        return 0;
    }
    fprintf(stderr, "usage: see the source\n");
    return 2;
}
