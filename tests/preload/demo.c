// The classic demonstration: reads cs_r.txt, prints it, writes ce_w.txt. Both are at the server only.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    char text[4096];
    int in = open("cs_r.txt", O_RDONLY);
    if (in < 0) { perror("cs_r.txt"); return 1; }
    ssize_t size = read(in, text, sizeof text);
    if (size < 0 || close(in)) { perror("cs_r.txt"); return 1; }
    if (write(1, text, size) != size) return 1;
    int out = open("ce_w.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (out < 0) { perror("ce_w.txt"); return 1; }
    const char *line = "written by the client\n";
    if (write(out, line, strlen(line)) != (ssize_t)strlen(line) || close(out)) { perror("ce_w.txt"); return 1; }
    return 0;
}
