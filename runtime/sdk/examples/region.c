/* Marked regions: the same calls of the C library are this machine's, the server's within a region, and this machine's again. */
#include <fcntl.h>
#include <pthread.h>
#include <rsc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prints what is in a file. */
static void show(const char *when, const char *name) {
    char text[256];
    int fd = open(name, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[got < 0 ? 0 : got] = 0;
    text[strcspn(text, "\n")] = 0;
    printf("%s: %s\n", when, got < 0 ? "not there" : text);
    if (fd >= 0) close(fd);
}

static void begin(const char *calls) {
    if (rsc_region_begin(calls) == 0) return;
    fprintf(stderr, "no region: %s\n", rsc_last_error());
    exit(1);
}

/* Every other thread has a region of its own. */
static void *work(void *number) {
    char name[64], text[16];
    long n = (long)number;
    if (n % 2) begin("openat");
    for (int round = 0; round < 20; round++) {
        snprintf(name, sizeof name, "/tmp/rsc-region-%ld", n);
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644), len = snprintf(text, sizeof text, "%ld", n);
        if (fd < 0 || write(fd, text, len) != len || pread(fd, text, sizeof text, 0) != len || atol(text) != n) abort();
        close(fd);
    }
    if (n % 2 && rsc_region_end() < 0) abort();
    return NULL;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "/cs_r.txt";
    show("before", name);
    begin(NULL);
    show("within", name);
    begin("mkdir"); /* a region within the region: its list counts, and not the other's */
    show("nested", name);
    rsc_region_end();
    show("within again", name);
    int fd = open(name, O_RDONLY);
    rsc_region_end();
    show("after", name);
    char byte = '-'; /* a descriptor means the same everywhere */
    ssize_t got = read(fd, &byte, 1);
    printf("kept: %d %c\n", (int)got, byte);
    close(fd);
    int ended = rsc_region_end();
    printf("end without begin: %d, %s\n", ended, rsc_last_error());
    pthread_t threads[6];
    for (long n = 0; n < 6; n++) pthread_create(&threads[n], NULL, work, (void *)n);
    for (int n = 0; n < 6; n++) pthread_join(threads[n], NULL);
    return 0;
}
