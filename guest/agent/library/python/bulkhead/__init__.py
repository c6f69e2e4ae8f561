"""What a session has of Bulkhead: the tools that it may use.

    from bulkhead import tools

    tools                                   # what there is
    tools.prices.get(key="acme/dax.csv")    # a call; every argument by its name
    help(tools.prices.get)                  # what an operation takes
    tools.prices.get(key="acme/dax.csv").text()         # a result that is a file: also .read(), .open(), .path
    tools.prices.put(key="report.csv", file="out.csv")  # an argument that is one

A call that the session may not make raises `ToolError` with `code == "tool_denied"`. Nothing here holds a credential: the call is decided and carried
out outside of this machine.
"""

from .tools import Operation, Tool, ToolError, ToolFile, Tools

tools = Tools()

__all__ = ["Operation", "Tool", "ToolError", "ToolFile", "Tools", "tools"]
