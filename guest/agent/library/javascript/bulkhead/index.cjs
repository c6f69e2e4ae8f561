// The tools of the session, for JavaScript: `const { tools } = require('bulkhead'); await tools.prices.get({ key: 'acme/dax.csv' })`.
'use strict';

const net = require('node:net');

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
      else resolve({ path: answer.file, contentType: answer.contentType, size: answer.size });
    });
  });
}

/** What this session was granted: descriptions of tools with their operations and parameters. */
const catalogue = async () => (await ask({ catalogue: true })).tools;

const call = (tool, operation, given = {}) => ask({ tool, operation, arguments: JSON.stringify(given) });

const members = (make) =>
  new Proxy({}, { get: (_, name) => (typeof name === 'string' && name !== 'then' ? make(name) : undefined) });

/** `tools.TOOL.OPERATION({ … })`: a promise of the result. */
const tools = members((tool) => members((operation) => (given) => call(tool, operation, given)));

module.exports = { ToolError, call, catalogue, tools };
