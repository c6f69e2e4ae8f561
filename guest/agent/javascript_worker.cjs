// The process of a JavaScript context: runs turns that come over the control socket on descriptor 3.
//
// The code runs through V8's own REPL mode, reached through the inspector: state is kept, `const` and `let` may be declared again,
// `await` works at the top level. It runs inside a `vm` script that SIGINT breaks, so an endless loop can be interrupted.
'use strict';

const fs = require('fs');
const inspector = require('inspector');
const { createRequire } = require('module');
const net = require('net');
const path = require('path');
const { pathToFileURL } = require('url');
const util = require('util');
const vm = require('vm');

const RUN = 'R'.charCodeAt(0);
const RESEED = 'S'.charCodeAt(0);
const TRIM = 'T'.charCodeAt(0);
const VARIABLES = 'V'.charCodeAt(0);
const INTERRUPT = 'I'.charCodeAt(0);
const READ_BYTES = 65536;
const VALUE_MAX_CHARACTERS = 16384;
const TEXT_MAX_CHARACTERS = 65536;
const PLAIN_MAX_CHARACTERS = 1048576;
const FRAMES_MAX_COUNT = 200;
const JSON_MAX_DEPTH = 12;

const control = new net.Socket({ fd: 3, readable: true, writable: true });
const session = new inspector.Session();
session.connect();

const home = process.cwd();
const userFile = path.join(home, 'session.js');
globalThis.require = createRequire(userFile);
globalThis.module = { exports: {} };
globalThis.exports = globalThis.module.exports;

let interruptTurn = null;
let cells = 0;

function send(kind, payload) {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(payload.length, 0);
  header[4] = kind.charCodeAt(0);
  control.write(Buffer.concat([header, payload]));
}

function sendJson(kind, value) {
  send(kind, Buffer.from(JSON.stringify(value)));
}

// V8 gives inspected code no way to import; what looks like a call of `import(...)` is pointed at ours, and a static import at the top
// of a line becomes one. Inside strings this changes nothing but the name, which is why the name is short.
globalThis.__import = (name) =>
  import(/^[./]/.test(name) ? pathToFileURL(path.resolve(process.cwd(), name)).href : resolveName(name));

function resolveName(name) {
  if (/^(node:|file:|data:)/.test(name)) return name;
  try {
    const found = globalThis.require.resolve(name);
    return path.isAbsolute(found) ? pathToFileURL(found).href : found;
  } catch {
    return name;
  }
}

function rewriteImports(code) {
  if (!code.includes('import')) return code;
  return code
    .replace(/^([ \t]*)import\s+(['"][^'"\n]+['"])\s*;?/gm, '$1await __import($2);')
    .replace(/^([ \t]*)import\s+([^'"();]+?)\s+from\s+(['"][^'"\n]+['"])\s*;?/gm, (all, indent, names, from) => {
      const star = /^\*\s+as\s+([\w$]+)$/.exec(names);
      if (star) return `${indent}const ${star[1]} = await __import(${from});`;
      const parts = /^(?:([\w$]+)\s*,?\s*)?(?:\{([\s\S]*)\})?$/.exec(names);
      if (!parts) return all;
      const list = [];
      if (parts[1]) list.push(`default: ${parts[1]}`);
      if (parts[2]) list.push(parts[2].replace(/\s+as\s+/g, ': '));
      return `${indent}const { ${list.join(', ')} } = await __import(${from});`;
    })
    .replace(/(^|[^\w$.'"`])import(\s*\()/g, '$1__import$2');
}

function evaluate(code, name) {
  return new Promise((resolve, reject) => {
    const parameters = {
      expression: `${code}\n//# sourceURL=${name}`,
      replMode: true,
      awaitPromise: true,
      userGesture: false,
    };
    let broken = false;
    // The answer to code that a signal broke comes before we are told so: it is looked at when all of that is over.
    const settle = (error, answer) =>
      process.nextTick(() => (broken ? reject(interrupted()) : error ? reject(error) : resolve(answer)));
    globalThis[postKey] = () => {
      // From here on SIGINT breaks the code; one that came before has left its word.
      if (interruptedBefore()) throw interrupted();
      session.post('Runtime.evaluate', parameters, settle);
    };
    try {
      vm.runInThisContext(`globalThis[Symbol.for('bulkhead.post')]()`, { breakOnSigint: true });
    } catch (error) {
      broken = error.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED';
      reject(broken ? interrupted() : error);
    } finally {
      delete globalThis[postKey];
    }
  });
}

const postKey = Symbol.for('bulkhead.post');
const takeKey = Symbol.for('bulkhead.take');

// The value behind an inspector's reference.
function valueOf(remote) {
  if (remote.objectId === undefined) {
    if (remote.unserializableValue !== undefined) return primitive(remote.unserializableValue);
    return remote.type === 'undefined' ? undefined : remote.value;
  }
  let taken;
  globalThis[takeKey] = (value) => {
    taken = value;
  };
  session.post('Runtime.callFunctionOn', {
    functionDeclaration: `function (value) { globalThis[Symbol.for('bulkhead.take')](value); }`,
    objectId: remote.objectId,
    arguments: [{ objectId: remote.objectId }],
  });
  delete globalThis[takeKey];
  session.post('Runtime.releaseObject', { objectId: remote.objectId });
  return taken;
}

function primitive(text) {
  if (text.endsWith('n')) return BigInt(text.slice(0, -1));
  return text === '-0' ? -0 : Number(text);
}

function interrupted() {
  const error = new Error('interrupted');
  error.name = 'Interrupted';
  return error;
}

function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most)}\n[${text.length - most} characters left out]`;
}

function shallow(value, levels) {
  if (value === null || typeof value !== 'object') return true;
  return levels > 0 && Object.values(value).every((item) => shallow(item, levels - 1));
}

function showResult(value) {
  if (value === undefined) return;
  globalThis._ = value;
  const data = { 'text/plain': cut(util.inspect(value), PLAIN_MAX_CHARACTERS) };
  if (
    value !== null &&
    typeof value === 'object' &&
    (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype)
  ) {
    try {
      const text = JSON.stringify(value);
      if (text !== undefined && text.length <= PLAIN_MAX_CHARACTERS) {
        const copy = JSON.parse(text);
        if (shallow(copy, JSON_MAX_DEPTH)) data['application/json'] = copy;
      }
    } catch {
      // A cycle or a BigInt: the text is enough.
    }
  }
  sendJson('E', { type: 'result', data });
}

function isOurs(file) {
  return file === __filename || file.startsWith('node:') || file === 'evalmachine.<anonymous>';
}

function showException(error) {
  const isError = util.types.isNativeError(error) || error instanceof Error;
  const name = isError ? String(error.name) : 'Uncaught';
  const value = cut(isError ? String(error.message) : util.inspect(error), VALUE_MAX_CHARACTERS);
  const lines = isError && typeof error.stack === 'string' ? error.stack.split('\n') : [`${name}: ${value}`];
  const frames = [];
  const kept = [];
  for (const line of lines) {
    const match = /^\s+at (?:(.*?) \()?(.*?):(\d+):\d+\)?$/.exec(line);
    if (match && (isOurs(match[2]) || match[2].includes('node:'))) continue;
    if (!match && /^\s+at /.test(line)) continue;
    if (match && frames.length < FRAMES_MAX_COUNT) {
      frames.push({
        file: match[2],
        line: Number(match[3]),
        name: match[1] || '<anonymous>',
        source: sourceLine(match[2], Number(match[3])),
      });
    }
    kept.push(line);
  }
  const traceback = cut(kept.join('\n'), TEXT_MAX_CHARACTERS);
  sendJson('E', { type: 'exception', name: cut(name, 200), value, traceback, frames: frames.reverse() });
}

const sources = new Map();

function sourceLine(file, line) {
  const text = sources.get(file);
  return text === undefined ? '' : (text.split('\n', line)[line - 1] || '').trim().slice(0, 1000);
}

async function run(code) {
  cells += 1;
  const name = `cell-${cells}`;
  sources.set(name, code);
  if (sources.size > 1000) sources.delete(sources.keys().next().value);
  let status = 'ok';
  try {
    const ended = new Promise((resolve, reject) => {
      interruptTurn = () => reject(interrupted());
    });
    const answer = await Promise.race([evaluate(rewriteImports(code), name), ended]);
    if (answer.exceptionDetails) {
      const thrown = answer.exceptionDetails.exception;
      throw thrown === undefined ? new Error(answer.exceptionDetails.text) : new Thrown(valueOf(thrown));
    }
    showResult(valueOf(answer.result));
  } catch (caught) {
    const error = caught instanceof Thrown ? caught.value : caught;
    status =
      error instanceof Error && error.name === 'Interrupted' && !(caught instanceof Thrown) ? 'interrupted' : 'error';
    try {
      showException(error);
    } catch {
      sendJson('E', { type: 'exception', name: 'Error', value: '', traceback: '', frames: [] });
    }
  } finally {
    interruptTurn = null;
  }
  sendJson('D', { status });
}

class Thrown {
  constructor(value) {
    this.value = value;
  }
}

// Node 18 has Web Cryptography, but not yet under its standard name; loaded when it is first named, because that takes long here.
if (globalThis.crypto === undefined) {
  Object.defineProperty(globalThis, 'crypto', {
    configurable: true,
    get: () => {
      const { webcrypto: value } = require('crypto');
      Object.defineProperty(globalThis, 'crypto', { value, configurable: true, writable: true });
      return value;
    },
    set: (value) => Object.defineProperty(globalThis, 'crypto', { value, configurable: true, writable: true }),
  });
}

// V8 seeds Math.random and OpenSSL once per process, so copies of this process would agree; these draw from the kernel instead.
function reseed() {
  const descriptor = fs.openSync('/dev/urandom', 'r');
  const draw = (size) => {
    const bytes = Buffer.alloc(size);
    fs.readSync(descriptor, bytes, 0, size, null);
    return bytes;
  };
  let pool = Buffer.alloc(0);
  let used = 0;
  Math.random = () => {
    if (used + 8 > pool.length) {
      pool = draw(4096);
      used = 0;
    }
    const high = pool.readUInt32LE(used) >>> 6;
    const low = pool.readUInt32LE(used + 4) >>> 5;
    used += 8;
    return (high * 134217728 + low) / 9007199254740992;
  };
  const crypto = require('crypto');
  crypto.randomBytes = (size, callback) => (callback ? void process.nextTick(callback, null, draw(size)) : draw(size));
  crypto.randomUUID = () => {
    const bytes = draw(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  };
  const fill = (array) => {
    Buffer.from(array.buffer, array.byteOffset, array.byteLength).set(draw(array.byteLength));
    return array;
  };
  for (const web of new Set([crypto.webcrypto, globalThis.crypto])) {
    if (web)
      Object.defineProperties(web, {
        getRandomValues: { value: fill },
        randomUUID: { value: () => crypto.randomUUID() },
      });
  }
}

// It breaks code that runs, see `evaluate`; outside of that it is not to end the process.
process.on('SIGINT', () => undefined);
process.on('uncaughtException', (error) => {
  process.stderr.write(`Uncaught ${util.inspect(error)}\n`);
});
process.on('unhandledRejection', (error) => {
  process.stderr.write(`Uncaught (in promise) ${util.inspect(error)}\n`);
});

let parts = [];
let partsBytes = 0;
let wanted = 5;
const messages = [];

// Into `messages`, whole ones.
function take(data) {
  parts.push(data);
  partsBytes += data.length;
  while (partsBytes >= wanted) {
    const received = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    const length = received.readUInt32BE(0);
    wanted = 5 + length;
    if (received.length < wanted) {
      parts = [received];
      return;
    }
    messages.push({ kind: received[4], payload: received.subarray(5, wanted) });
    parts = [received.subarray(wanted)];
    partsBytes = parts[0].length;
    wanted = 5;
  }
}

function interruptedBefore() {
  const waiting = Buffer.alloc(READ_BYTES);
  try {
    const count = fs.readSync(3, waiting, 0, READ_BYTES, null);
    take(waiting.subarray(0, count));
  } catch (error) {
    if (error.code !== 'EAGAIN') throw error;
  }
  const found = messages.some(({ kind }) => kind === INTERRUPT);
  if (found) messages.splice(0, messages.length, ...messages.filter(({ kind }) => kind !== INTERRUPT));
  return found;
}

// Code that waits has children, perhaps, which get the signal too.
function interruptWaiting() {
  if (interruptTurn === null) return;
  process.kill(0, 'SIGINT');
  interruptTurn();
}

control.on('data', (data) => {
  take(data);
  for (let message = messages.shift(); message !== undefined; message = messages.shift()) {
    const { kind, payload } = message;
    if (kind === RUN) run(payload.toString('utf8'));
    else if (kind === VARIABLES) Object.assign(process.env, JSON.parse(payload.toString('utf8')));
    else if (kind === INTERRUPT) interruptWaiting();
    else if (kind === RESEED || kind === TRIM) {
      if (kind === RESEED) reseed();
      else if (globalThis.gc) globalThis.gc();
      send('A', Buffer.alloc(0));
    }
  }
});
control.on('close', () => process.exit(0));
control.on('error', () => process.exit(0));
