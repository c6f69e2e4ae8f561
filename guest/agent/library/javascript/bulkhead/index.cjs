// The tools of the session, for JavaScript: `const { tools } = require('bulkhead'); await tools.prices.get({ key: 'acme/dax.csv' })`.
'use strict';

const { createReadStream } = require('node:fs');
const { readFile } = require('node:fs/promises');
const net = require('node:net');
const { resolve: absolute } = require('node:path');

const path = process.env.BULKHEAD_TOOLS ?? '/run/bulkhead-tools';

/** A call that was refused, or failed; `code` is one of Bulkhead's error codes, `decision` names the record of a refusal. */
class ToolError extends Error {
  constructor({ code, message, hint, details }) {
    super(hint === undefined ? message : `${message} ${hint}`);
    this.name = 'ToolError';
    this.code = code;
    this.hint = hint;
    this.details = details ?? {};
    this.decision = this.details.decision;
  }
}

/** A result that came as a file: it lies at `path` in this machine. */
class ToolFile {
  constructor({ file, contentType, size }) {
    this.path = file;
    this.contentType = contentType;
    this.size = size;
  }

  /** A stream of it. */
  open() {
    return createReadStream(this.path);
  }

  /** All of it, as a buffer. */
  read() {
    return readFile(this.path);
  }

  /** All of it, as text. */
  text() {
    return readFile(this.path, 'utf8');
  }
}

function ask(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    const connection = net.connect(path, () => connection.write(`${JSON.stringify(request)}\n`));
    connection.on('error', (error) => {
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      const message = absent ? 'This session has no tools.' : 'The tools do not answer.';
      reject(new ToolError({ code: absent ? 'not_found' : 'internal', message }));
    });
    connection.on('data', (chunk) => {
      chunks.push(chunk);
      if (chunk.at(-1) === 0x0a) connection.end();
    });
    connection.on('close', () => {
      const line = Buffer.concat(chunks);
      if (line.at(-1) !== 0x0a) {
        reject(
          new ToolError({
            code: 'cancelled',
            message: 'The call was cut off; the session was put to sleep, or its tools were taken away.',
          }),
        );
        return;
      }
      const answer = JSON.parse(line);
      if (!answer.ok) reject(new ToolError(answer.error));
      else if (answer.file === undefined) resolve(answer.value);
      else resolve(new ToolFile(answer));
    });
  });
}

/** What this session was granted: descriptions of tools with their operations and parameters. */
const catalogue = async () => (await ask({ catalogue: true })).tools;

/** A file is named by where it is, not by where this process is: the host reads it. */
async function withPaths(tool, operation, given) {
  const described = (await catalogue()).find(({ name }) => name === tool)?.operations[operation]?.parameters ?? {};
  const path = (value) => absolute(value instanceof ToolFile ? value.path : String(value));
  const isFile = (name, value) => value != null && Object.hasOwn(described, name) && described[name].kind === 'file';
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, isFile(name, value) ? path(value) : value]),
  );
}

const call = async (tool, operation, given = {}) =>
  ask({ tool, operation, arguments: JSON.stringify(await withPaths(tool, operation, given)) });

const members = (make) =>
  new Proxy({}, { get: (_, name) => (typeof name === 'string' && name !== 'then' ? make(name) : undefined) });

/** `tools.TOOL.OPERATION({ … })`: a promise of the result. */
const tools = members((tool) => members((operation) => (given) => call(tool, operation, given)));

module.exports = { ToolError, ToolFile, call, catalogue, tools };
