#include "rewards/code/sandbox_filter.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "grpo/error.h"

namespace grpo {
namespace {

// Denied whatever the arguments. By name, because a name that the kernel headers of the build lack is passed over.
constexpr const char* kDenied[] = {
    // other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    // namespaces and file systems
    "unshare", "setns", "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen",
    "fsmount", "fsconfig", "fspick", "mount_setattr", "name_to_handle_at", "open_by_handle_at", "fanotify_init",
    "quotactl", "quotactl_fd", "mknod", "mknodat",
    // parts of the kernel that are large, old or often broken
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl",
    "add_key", "request_key", "personality", "modify_ldt", "lookup_dcookie", "nfsservctl", "vmsplice", "uselib",
    "ustat", "sysfs", "_sysctl",
    // the machine
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "reboot",
    "swapon", "swapoff", "acct", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "iopl",
    "ioperm", "vhangup", "sethostname", "setdomainname",
    // memory that no limit of a process counts
    "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt", "msgget", "semget", "mq_open", "mbind",
    "set_mempolicy", "set_mempolicy_home_node", "migrate_pages", "move_pages"};

constexpr unsigned long kNewNamespaces[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                            CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

constexpr unsigned long kTypeIntoTerminal = 0x5412, kTerminalSelection = 0x541C;  // TIOCSTI, TIOCLINUX

}  // namespace

std::string system_call_filter() {
  const std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  const auto check = [](int status, const char* what) {
    if (status < 0)
      throw Error("sandbox", "expected libseccomp to take the rule for ", what, ", got ", std::strerror(-status));
  };
  if (!filter) throw Error("sandbox", "expected a filter from libseccomp, got none");
  const auto deny = [&](const char* name, std::uint32_t action, const auto&... conditions) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) return;
    check(seccomp_rule_add(filter.get(), action, number, sizeof...(conditions), conditions...), name);
  };
  for (const char* name : kDenied) deny(name, SCMP_ACT_ERRNO(EPERM));
  for (const unsigned long flag : kNewNamespaces)
    deny("clone", SCMP_ACT_ERRNO(EPERM), SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
  // Its flags are in memory, where no filter sees them; the C library falls back to clone.
  deny("clone3", SCMP_ACT_ERRNO(ENOSYS));
  deny("socket", SCMP_ACT_ERRNO(EPERM), SCMP_A0(SCMP_CMP_NE, AF_UNIX));
  // The kernel looks at the lower half of the request alone.
  for (const unsigned long request : {kTypeIntoTerminal, kTerminalSelection})
    deny("ioctl", SCMP_ACT_ERRNO(EPERM), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFFUL, request));

  const int file = ::memfd_create("filter", MFD_CLOEXEC);
  if (file < 0) throw Error("sandbox", "expected a memory file, got ", std::strerror(errno));
  const int exported = seccomp_export_bpf(filter.get(), file);
  std::string program(static_cast<std::size_t>(std::max<off_t>(0, ::lseek(file, 0, SEEK_END))), '\0');
  const ssize_t read = ::pread(file, program.data(), program.size(), 0);
  ::close(file);
  check(exported, "export");
  if (program.empty() || read != static_cast<ssize_t>(program.size()))
    throw Error("sandbox", "expected ", program.size(), " bytes of filter, got ", read);
  return program;
}

}  // namespace grpo
