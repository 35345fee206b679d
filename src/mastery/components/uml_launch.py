"""Starts user-mode Linux so that nothing of it outlives us, and so that it runs on processors newer than itself.

Two facts of user-mode Linux (seen with 6.1) make this program necessary:

- Its guest processes are traced children. If only the tracer dies, they go on as ordinary processes of the host and
  their system calls become real. So the whole process group is killed at once: by us at the cut, and by a watcher
  when we are gone (the pipe that we hold ends) or when the tracer died alone.
- It copies the extended processor state with PTRACE_SETREGSET in a buffer of 2,696 bytes; where the host's state is larger
  (AMX: 11,008), the host refuses and the guest panics. A seccomp filter makes PTRACE_GETREGSET fail, upon which it falls
  back to the old calls. Those carry no AVX registers, so the guest is told not to use them (see `guest_environment`).
"""

import contextlib
import ctypes
import os
import select
import signal
import struct
import sys

_SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 22, 38
_SECCOMP_FILTER = 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF instructions
_ALLOW, _FAIL_WITH_EIO = 0x7FFF0000, 0x00050005
_X86_64, _PTRACE, _PTRACE_GETREGSET = 0xC000003E, 101, 0x4204
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16  # struct seccomp_data


def refuse_extended_state() -> None:
    """From here on PTRACE_GETREGSET fails with EIO, for this process and all that it starts."""
    instructions = [
        (_LOAD_WORD, 0, 0, _AT_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 5, _X86_64),
        (_LOAD_WORD, 0, 0, _AT_NUMBER),
        (_JUMP_IF_EQUAL, 0, 3, _PTRACE),
        (_LOAD_WORD, 0, 0, _AT_FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _PTRACE_GETREGSET),
        (_RETURN, 0, 0, _FAIL_WITH_EIO),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _SECCOMP_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "seccomp")


def guest_environment() -> dict[str, str]:
    """What keeps the guest's C library and numpy away from registers that the fall-back does not carry."""
    vector_units = [
        "AVX512F",
        "AVX512VL",
        "AVX512BW",
        "AVX512CD",
        "AVX512DQ",
        "AVX2",
        "AVX",
        "XSAVE",
        "XSAVEC",
        "AVX_Fast_Unaligned_Load",
    ]
    return {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{each}" for each in vector_units),
        # The lazy binder would save the registers that nobody restores.
        "LD_BIND_NOW": "1",
        "NPY_DISABLE_CPU_FEATURES": "AVX2,FMA3,AVX512F,AVX512_SKX,AVX512_ICL,X86_V3,X86_V4",
    }


def main() -> None:
    """`uml_launch LIFELINE REFUSE COMMAND...`: becomes the command, which must lead a process group of its own."""
    lifeline, refuse, *command = sys.argv[1:]
    machine = os.getpid()
    if os.fork() == 0:
        watch(int(lifeline), machine)
        os._exit(0)
    os.close(int(lifeline))
    if refuse == "refuse":
        refuse_extended_state()
    os.execvp(command[0], command)  # noqa: S606 - to become this program is what we are for


def watch(lifeline: int, machine: int) -> None:
    """Kills the whole group of the machine as soon as the other end of the lifeline is closed, or the machine has died."""
    os.setsid()
    os.dup2(lifeline, 3)
    # Holding on to the channel of the acknowledgements would keep its reader waiting for an end that has come.
    os.closerange(4, 1 << 16)
    died = os.pidfd_open(machine)
    waiting = select.poll()
    waiting.register(3, select.POLLIN)
    waiting.register(died, select.POLLIN)
    waiting.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(machine, signal.SIGKILL)


if __name__ == "__main__":
    main()
