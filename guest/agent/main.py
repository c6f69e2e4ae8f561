"""Where the guest agent starts: `python3 -I main.py --channel /dev/virtio-ports/bulkhead.channel`.

`--fd N` takes a connected descriptor instead of a port; `--container MIB` runs in a container whose channel is the standard streams and whose
guest code may use that much memory. `--development --home DIR` runs as the present user without touching the
machine (no setuid, clock, hostname, machine-id, entropy), for tests on a host. `--zygote FD` is how the agent starts its own zygote.
"""

import argparse
import importlib.util
import os
import sys


def load_package():
    """Our folder as the package `_bulkhead`, without putting it on sys.path: user code must not import it by accident."""
    folder = os.path.dirname(os.path.abspath(__file__))
    init = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("_bulkhead", init, submodule_search_locations=[folder])
    package = importlib.util.module_from_spec(spec)
    sys.modules["_bulkhead"] = package
    spec.loader.exec_module(package)


def main():
    """Parse the command line and run; the exit code is 0 when the channel ended, 1 when anything broke."""
    parser = argparse.ArgumentParser(description="Bulkhead's guest agent")
    parser.add_argument("--channel", metavar="PATH")
    parser.add_argument("--fd", type=int)
    parser.add_argument("--container", type=int, metavar="MIB")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--home", metavar="DIR", help="the user's home; only with --development")
    parser.add_argument("--zygote", type=int, metavar="FD", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    load_package()

    from _bulkhead.container import Container
    from _bulkhead.surroundings import Development, Machine

    if arguments.development:
        if arguments.home is None:
            parser.error("--development needs --home")
        surroundings = Development(os.path.abspath(arguments.home))
    elif arguments.container is not None:
        surroundings = Container(arguments.container)
    else:
        surroundings = Machine()

    if arguments.zygote is not None:
        from _bulkhead.zygote import serve

        return serve(arguments.zygote, surroundings)

    from _bulkhead.agent import Agent, log
    from _bulkhead.channel import open_port, take_standard_streams
    from _bulkhead.frames import ProtocolError

    if [arguments.channel, arguments.fd, arguments.container].count(None) != 2:
        parser.error("give one of --channel, --fd and --container")
    if arguments.development:
        log("development: no user change, no clock, hostname, machine-id or entropy; this is not a boundary")
    try:
        surroundings.prepare()
        reconnects = False
        if arguments.container is not None:
            fds = take_standard_streams()
        elif arguments.fd is None:
            fds, reconnects = (open_port(arguments.channel),), True
        else:
            fds = (arguments.fd,)
            os.set_inheritable(arguments.fd, False)
        Agent(fds, surroundings, reconnects).start()
    except ProtocolError as error:
        log(f"protocol violation by the host: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
