/* The classic demonstration by calls of rsc.h: reads /cs_r.txt of the server, prints it, writes /ce_w.txt there.
 *
 *   cc -I runtime/sdk/c demo.c -L target/release -lrsc -o demo && RSC_SENTRY=tcp://server:7000 RSC_TOKEN_FILE=token ./demo */
#include <fcntl.h>
#include <rsc.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, rsc_last_error());
    return 1;
}

int main(void) {
    char line[256];
    if (rsc_connect(NULL) < 0) return failed("connecting");
    int fd = rsc_open("/cs_r.txt", O_RDONLY, 0);
    if (fd < 0) return failed("cs_r.txt");
    ssize_t got = rsc_read(fd, line, sizeof line);
    if (got < 0 || rsc_close(fd) < 0) return failed("reading");
    printf("%.*s", (int)got, line);
    fd = rsc_open("/ce_w.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const char *text = "written by the client\n";
    if (fd < 0 || rsc_write(fd, text, strlen(text)) < 0 || rsc_close(fd) < 0) return failed("ce_w.txt");
    return 0;
}
