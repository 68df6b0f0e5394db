// sendfile, copy_file_range, splice, tee, vmsplice: bytes from one descriptor to another.
#include "t.h"
const char *name = "copy";
void cases(void) {
    char b[64] = "";
    off_t o = 2;
    int p[2], q[2];
    t_spit("f", "0123456789");
    int f = open("f", O_RDWR), g = open("g", O_CREAT | O_RDWR, 0644), w = open("f", O_WRONLY);
    pipe(p), pipe(q);
    CASE("sendfile", "%s %s", R(sendfile(g, f, 0, 4)), t_slurp("g"));
    CASE("sendfile-offset", "%s %ld at %ld %s", R(sendfile(g, f, &o, 3)), (long)o, (long)lseek(f, 0, SEEK_CUR), t_slurp("g"));
    CASE("sendfile-end", "%s %s", R(sendfile(g, f, 0, 100)), R(sendfile(g, f, 0, 100)));
    o = 0;
    CASE("sendfile-pipe", "%s %s %.5s", R(sendfile(p[1], f, &o, 5)), R(read(p[0], b, 64)), b);
    CASE("sendfile-from-pipe", "%s", R(sendfile(g, p[0], 0, 5)));
    CASE("sendfile-errors", "%s %s %s %s", R(sendfile(99, f, 0, 1)), R(sendfile(g, 99, 0, 1)), R(sendfile(g, w, 0, 1)), R(sendfile(g, f, BAD, 1)));
    o = -1;
    CASE("sendfile-negative", "%s", R(sendfile(g, f, &o, 1)));
    loff_t a = 1, c = 0;
    ftruncate(g, 0);
    CASE("copy-file-range", "%s %ld %ld %s", R(copy_file_range(f, &a, g, &c, 5, 0)), (long)a, (long)c, t_slurp("g"));
    lseek(f, 0, SEEK_SET), lseek(g, 0, SEEK_END);
    CASE("copy-positions", "%s %s", R(copy_file_range(f, 0, g, 0, 100, 0)), t_slurp("g"));
    CASE("copy-flags", "%s", R(copy_file_range(f, 0, g, 0, 1, 1)));
    a = 0, c = 3;
    CASE("copy-overlap", "%s", R(copy_file_range(f, &a, f, &c, 5, 0)));
    CASE("copy-errors", "%s %s %s", R(copy_file_range(99, 0, g, 0, 1, 0)), R(copy_file_range(p[0], 0, g, 0, 1, 0)), R(copy_file_range(w, 0, g, 0, 1, 0)));
    a = 0;
    CASE("splice-in", "%s %ld", R(splice(f, &a, p[1], 0, 6, 0)), (long)a);
    CASE("tee", "%s", R(tee(p[0], q[1], 4, 0)));
    lseek(g, 0, SEEK_SET), ftruncate(g, 0);
    CASE("splice-out", "%s %s", R(splice(p[0], 0, g, 0, 100, 0)), t_slurp("g"));
    CASE("splice-pipes", "%s %s %.4s", R(splice(q[0], 0, p[1], 0, 100, 0)), R(read(p[0], b, 64)), b);
    CASE("splice-empty", "%s", R(splice(p[0], 0, q[1], 0, 1, SPLICE_F_NONBLOCK)));
    CASE("splice-errors", "%s %s %s", R(splice(f, 0, g, 0, 1, 0)), R(splice(p[0], &a, g, 0, 1, 0)), R(splice(p[0], 0, p[1], 0, 1, 0)));
    struct iovec v[2] = {{"ab", 2}, {"cde", 3}};
    CASE("vmsplice", "%s %s %.5s", R(vmsplice(p[1], v, 2, 0)), R(read(p[0], b, 64)), b);
}
