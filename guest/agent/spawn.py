"""Starting a program as the user: fork, give up root, exec.

Not subprocess: its child hook costs an import and a slower fork, and it cannot make the new process the owner of a terminal.
"""

import errno
import fcntl
import os
import signal
import termios

_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "library")
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ)


def base_environment(surroundings, mark):
    """The whole environment of guest code. `mark` names the group of the process."""
    home = surroundings.home
    return {
        "PATH": f"{PATH if surroundings.is_machine else os.environ.get('PATH', PATH)}:{_LIBRARY}/bin:{home}/.local/bin",
        # The tools of the session, from every language.
        "PYTHONPATH": f"{_LIBRARY}/python",
        "NODE_PATH": f"{_LIBRARY}/javascript",
        "BULKHEAD_TOOLS": surroundings.tools_socket,
        "HOME": home,
        "USER": surroundings.user,
        "LOGNAME": surroundings.user,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "PWD": home,
        "MPLBACKEND": "agg",
        **surroundings.variables,
        **surroundings.groups.environment(mark),
    }


def spawn(surroundings, mark, argv, environment, cwd, files, terminal=None):
    """The pid of a new session leader running `argv` in a group of its own, `mark`.

    `files` maps the child's descriptors to ours; all others are closed by exec. `terminal` is the slave side that becomes its
    controlling terminal. Raises OSError, also for what fails in the child (no such program, no such directory).
    """
    surroundings.groups.open(mark)
    try:
        return _start(surroundings, mark, argv, environment, cwd, files, terminal)
    except OSError:
        surroundings.groups.close(mark)
        raise


def _start(surroundings, mark, argv, environment, cwd, files, terminal):
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(error_read)
        os.close(error_write)
        raise
    if pid == 0:
        _become(surroundings, mark, argv, environment, cwd, files, terminal, error_write)
    os.close(error_write)
    try:
        report = os.read(error_read, 64)
    finally:
        os.close(error_read)
    if report:
        os.waitpid(pid, 0)
        number = int(report)
        raise OSError(number, os.strerror(number), argv[0])
    return pid


def _become(surroundings, mark, argv, environment, cwd, files, terminal, error_write):
    """The child: never returns."""
    try:
        for number in _DEFAULT_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        # Away from the numbers that the child wants first, so that no dup2 overwrites a source.
        top = max(files) + 1
        moved = {target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, top) for target, source in files.items()}
        error_write = fcntl.fcntl(error_write, fcntl.F_DUPFD_CLOEXEC, top)
        for target, source in moved.items():
            os.dup2(source, target)
        if terminal is not None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        surroundings.groups.join(mark)
        surroundings.become_user()
        os.chdir(cwd)
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(error_write, str(error.errno or errno.EIO).encode())
    except BaseException:  # noqa: BLE001 - whatever it is, the child must not go on as a second agent
        os.write(error_write, str(errno.EINVAL).encode())
    finally:
        os._exit(127)
