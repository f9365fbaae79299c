/* Tries the system calls that exploits of the kernel begin with, and prints `name errno` for each. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(const char *name, long result) { printf("%s %d\n", name, result < 0 ? errno : 0); }

/* In a child, since some would change the prober. */
#define TRY(name, call) do { fflush(stdout); pid_t child = fork(); if (child == 0) { errno = 0; told(name, (long)(call)); fflush(stdout); _exit(0); } \
    int status = 0; waitpid(child, &status, 0); if (WIFSIGNALED(status)) printf("%s signal\n", name); } while (0)

int main(void) {
    static char page[4096];
    struct perf_event_attr event = { .type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK };
    union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
    TRY("af_alg", socket(38, SOCK_SEQPACKET, 0));
    TRY("af_vsock", socket(40, SOCK_STREAM, 0));
    TRY("user_namespace_unshare", unshare(CLONE_NEWUSER));
    TRY("mount_namespace_unshare", unshare(CLONE_NEWNS));
    TRY("network_namespace_unshare", unshare(CLONE_NEWNET));
    TRY("user_namespace_clone", syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0));
    TRY("clone3", syscall(435, page, 64));
    TRY("setns", setns(0, CLONE_NEWNS));
    TRY("io_uring_setup", syscall(425, 1, page));
    TRY("io_uring_register", syscall(427, 0, 0, 0, 0));
    TRY("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    TRY("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, -3));
    TRY("request_key", syscall(SYS_request_key, "user", "probe", 0, -3));
    TRY("bpf_map", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
    TRY("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
    TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
    TRY("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    TRY("fsopen", syscall(430, "tmpfs", 0));
    TRY("open_tree", syscall(428, -100, "/", 1));
    TRY("move_mount", syscall(429, -100, "/", -100, "/tmp", 0));
    TRY("pivot_root", syscall(SYS_pivot_root, "/", "/"));
    TRY("umount", umount2("/proc", MNT_DETACH));
    TRY("init_module", syscall(SYS_init_module, page, 64, ""));
    TRY("finit_module", syscall(SYS_finit_module, 0, "", 0));
    TRY("delete_module", syscall(SYS_delete_module, "none", 0));
    TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, -100, page, 0));
    TRY("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
    TRY("swapon", syscall(SYS_swapon, "/none", 0));
    TRY("settimeofday", syscall(SYS_settimeofday, page, 0));
    TRY("clock_settime", syscall(SYS_clock_settime, 0, page));
    TRY("acct", syscall(SYS_acct, "/none"));
    TRY("quotactl", syscall(SYS_quotactl, 0, "", 0, 0));
    TRY("lookup_dcookie", syscall(SYS_lookup_dcookie, 0, page, 10));
    TRY("vm86", syscall(312 + 100000, 0));
#ifdef SYS_iopl
    TRY("iopl", syscall(SYS_iopl, 3));
    TRY("ioperm", syscall(SYS_ioperm, 0x70, 1, 1));
#endif
    TRY("process_madvise", syscall(440, -1, page, 1, 0, 0));
    TRY("kcmp", syscall(SYS_kcmp, 1, 1, 0, 0, 0));
    TRY("move_pages", syscall(SYS_move_pages, 0, 0, 0, 0, 0, 0));
    TRY("netfilter_socket", socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
    TRY("packet_socket", socket(AF_PACKET, SOCK_RAW, 0));
    TRY("ordinary_socket", socket(AF_INET, SOCK_STREAM, 0));
    TRY("ordinary_fork", 0);
    return 0;
}
