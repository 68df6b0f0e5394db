/* rsc.h: calls that a server carries out, for programs linked with -lrsc; docs/remote.md tells more. Made of the
 * library's source by runtime/sdk/tests/header.rs. */
#ifndef RSC_H
#define RSC_H

#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where calls go. What is NULL is as the environment says: RSC_SENTRY, RSC_RULES, RSC_SYSCALLS, RSC_EXPORT, RSC_CWD, RSC_TOKEN_FILE,
 * RSC_TLS_CA, RSC_TLS_CERT, RSC_TLS_KEY. */
struct rsc_settings {
    /* The server: tcp://HOST:PORT, vsock://CID:PORT, unix:///PATH. */
    const char *sentry;
    /* A file of rules, for regions. */
    const char *rules;
    /* Calls that go there in regions without a list of their own, with commas between. */
    const char *syscalls;
    /* Which of the server's exports; empty: the only one. */
    const char *export_name;
    /* The working directory there; empty: as this machine's, and / for rsc_syscall and its like. */
    const char *cwd;
    /* A file with a token. */
    const char *token_file;
    /* A certificate of an authority. */
    const char *tls_ca;
    /* A certificate. */
    const char *tls_cert;
    /* Its key. */
    const char *tls_key;
};

/* Connects the calling thread; settings may be NULL. Not needed if the environment says everything. 0, or -1 with errno and
 * rsc_last_error. */
int rsc_connect(const struct rsc_settings *settings);

/* Begins a region: until rsc_region_end, these calls of this thread go to the server where no rule says otherwise. With NULL they are
 * those which the settings name. 0, or -1 with errno and rsc_last_error, and then there is no region. */
int rsc_region_begin(const char *syscalls);

/* Ends this thread's innermost region. 0, or -1 with EINVAL if it is in none. */
int rsc_region_end(void);

/* Why the last function of this file that failed in this thread did, and what to do; never NULL, valid until the next one fails. */
const char *rsc_last_error(void);

/* Carries a call out at the server, as syscall(2) does here, whatever rules and regions say. Descriptors must be remote: EBADF.
 * Calls which always are this machine's, as fork: ENOSYS. Up to six arguments. */
long rsc_syscall(long number, ...);

/* open(2) there. The descriptor is one of this process as any other; read(2), write(2) and so on work with it too. */
int rsc_open(const char *path, int flags, mode_t mode);

/* close(2) of a remote descriptor. */
int rsc_close(int fd);

/* read(2) there. */
ssize_t rsc_read(int fd, void *buf, size_t count);

/* write(2) there. */
ssize_t rsc_write(int fd, const void *buf, size_t count);

/* pread(2) there. */
ssize_t rsc_pread(int fd, void *buf, size_t count, off_t offset);

/* pwrite(2) there. */
ssize_t rsc_pwrite(int fd, const void *buf, size_t count, off_t offset);

/* lseek(2) there. */
off_t rsc_lseek(int fd, off_t offset, int whence);

/* ftruncate(2) there. */
int rsc_ftruncate(int fd, off_t length);

/* fsync(2) there. */
int rsc_fsync(int fd);

/* getdents64(2) there. */
ssize_t rsc_getdents64(int fd, void *buf, size_t count);

/* stat(2) there. */
int rsc_stat(const char *path, struct stat *buf);

/* lstat(2) there. */
int rsc_lstat(const char *path, struct stat *buf);

/* fstat(2) there. */
int rsc_fstat(int fd, struct stat *buf);

/* readlink(2) there. */
ssize_t rsc_readlink(const char *path, char *buf, size_t size);

/* mkdir(2) there. */
int rsc_mkdir(const char *path, mode_t mode);

/* rmdir(2) there. */
int rsc_rmdir(const char *path);

/* unlink(2) there. */
int rsc_unlink(const char *path);

/* rename(2) there. */
int rsc_rename(const char *from, const char *to);

/* socket(2) there; connect(2), bind(2), send(2) and so on work with its descriptor. */
int rsc_socket(int domain, int kind, int protocol);

#ifdef __cplusplus
}
#endif

#endif
