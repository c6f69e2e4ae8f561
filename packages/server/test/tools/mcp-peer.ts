// An MCP server of a test's own, made with the official SDK, on loopback: it changes its tools, floods, hangs and answers garbage when it is told to.

import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import {
  CallToolRequestSchema,
  type CallToolResult,
  ListToolsRequestSchema,
  type Tool,
} from '@modelcontextprotocol/sdk/types.js';

export interface McpPeer extends AsyncDisposable {
  readonly url: string;
  tools: Tool[];
  /** What a call is answered with. */
  answer: (name: string, args: unknown, server: Server) => CallToolResult | Promise<CallToolResult>;
  /** In place of the protocol; false when it is left to it. */
  intercept: (request: IncomingMessage, response: ServerResponse, message: unknown) => boolean;
  /** Calls of tools that arrived, as they were. */
  readonly calls: { readonly name: string; readonly args: unknown }[];
  readonly requests: {
    readonly method: string;
    readonly headers: IncomingMessage['headers'];
    readonly message: unknown;
  }[];
  /** Connections that are open. */
  readonly servers: Map<string, Server>;
  /** As a process that was started anew. */
  forget(): void;
}

export const echoTool: Tool = {
  name: 'get-price.v1',
  description: 'the price of a symbol',
  inputSchema: {
    type: 'object',
    properties: {
      symbol: { type: 'string', description: 'which' },
      maxCount: { type: 'integer', minimum: 1, maximum: 10 },
      side: { anyOf: [{ type: 'string', enum: ['buy', 'sell'] }, { type: 'null' }], default: null },
      filter: { type: 'object' },
    },
    required: ['symbol'],
  },
};

export async function openMcpPeer(): Promise<McpPeer> {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  const http = createServer((request, response) => void handle(request, response));
  http.listen(0, '127.0.0.1');
  await new Promise((resolve) => http.once('listening', resolve));
  const { port } = http.address() as AddressInfo;
  const peer: McpPeer = {
    url: `http://127.0.0.1:${port}/mcp`,
    tools: [echoTool],
    answer: (_, args) => ({ content: [{ type: 'text', text: JSON.stringify(args) }] }),
    intercept: () => false,
    calls: [],
    requests: [],
    servers: new Map(),
    forget: () => {
      transports.clear();
      peer.servers.clear();
    },
    [Symbol.asyncDispose]: async () => {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined);
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const message: unknown = chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString());
    const { method = '', headers } = request;
    peer.requests.push({ method, headers, message });
    if (peer.intercept(request, response, message)) return;
    const id = headers['mcp-session-id'];
    const known = typeof id === 'string' ? transports.get(id) : undefined;
    if (typeof id === 'string' && known === undefined) {
      response.writeHead(404).end();
      return;
    }
    await (known ?? (await begin())).handleRequest(request, response, message);
  }

  async function begin(): Promise<StreamableHTTPServerTransport> {
    const server = new Server({ name: 'peer', version: '1' }, { capabilities: { tools: { listChanged: true } } });
    server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: peer.tools }));
    server.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
      peer.calls.push({ name: params.name, args: params.arguments });
      return await peer.answer(params.name, params.arguments, server);
    });
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => {
        transports.set(id, transport);
        peer.servers.set(id, server);
      },
      onsessionclosed: (id) => {
        transports.delete(id);
        peer.servers.delete(id);
      },
    });
    await server.connect(transport);
    return transport;
  }

  return peer;
}
