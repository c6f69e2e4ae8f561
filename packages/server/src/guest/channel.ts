// `openGuest`: the interface that the layers above use, over one channel.

import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../lib/clock.ts';
import { type ChannelTimeouts, defaultTimeouts } from './channel-limits.ts';
import { serveCalls } from './guest-calls.ts';
import { connect } from './guest-connect.ts';
import { serveEgress } from './guest-egress.ts';
import { killProcess, listProcesses, processOutput, startExec, startProcess } from './guest-exec.ts';
import { listFiles, mkdir, move, readFile, remove, stat, writeFile } from './guest-files.ts';
import { startRun } from './guest-run.ts';
import type { Guest } from './guest.ts';
import { contextListSchema, infoSchema, nothingSchema } from './messages.ts';
import { Mux } from './mux.ts';

export interface GuestOptions extends Partial<ChannelTimeouts> {
  readonly clock?: Clock;
}

/**
 * Takes over a byte stream whose other end is a guest agent. The guest is usable after `identify`; before, every call but
 * `hello` and `identify` rejects with `state_conflict`. Disposal destroys the stream.
 */
export function openGuest(stream: Duplex, options: GuestOptions = {}): Guest {
  const { clock = systemClock, ...timeouts } = options;
  const mux = new Mux(stream, clock, { ...defaultTimeouts, ...timeouts });
  const { controlTimeoutMs, slowTimeoutMs } = mux.timeouts;
  return {
    ended: mux.ended,
    get activeAtUnixMs() {
      return mux.activeAtUnixMs;
    },
    hello: (call) => mux.hello(call),
    identify: (identity, call) => mux.identify(identity, call),
    ping: (call) => mux.ping(call),
    run: (request) => startRun(mux, request),
    async restartContext(language, context, call) {
      const parameters = { language, context };
      await mux.call({ op: 'context.restart', parameters, result: nothingSchema, lanes: [] }, controlTimeoutMs, call);
    },
    async listContexts(call) {
      const spec = { op: 'context.list', parameters: {}, result: contextListSchema, lanes: [] };
      return (await mux.call(spec, controlTimeoutMs, call)).contexts;
    },
    exec: (request) => startExec(mux, request),
    startProcess: (request, call) => startProcess(mux, request, call),
    listProcesses: (call) => listProcesses(mux, call),
    processOutput: (process) => processOutput(mux, process),
    killProcess: (process, call) => killProcess(mux, process, call),
    readFile: (path, call) => readFile(mux, path, call),
    writeFile: (path, content, sizeBytes, call) => writeFile(mux, path, content, sizeBytes, call),
    listFiles: (path, call) => listFiles(mux, path, call),
    stat: (path, call) => stat(mux, path, call),
    move: (from, to, call) => move(mux, from, to, call),
    remove: (path, call) => remove(mux, path, call),
    mkdir: (path, call) => mkdir(mux, path, call),
    connect: (port, call) => connect(mux, port, call),
    serveCalls: (handle) => serveCalls(mux, handle),
    serveEgress: (take) => serveEgress(mux, take),
    info: (call) => mux.call({ op: 'info', parameters: {}, result: infoSchema, lanes: [] }, controlTimeoutMs, call),
    async settle(call) {
      await mux.call({ op: 'settle', parameters: {}, result: nothingSchema, lanes: [] }, slowTimeoutMs, call);
    },
    async rehearse(call) {
      await mux.call({ op: 'rehearse', parameters: {}, result: nothingSchema, lanes: [] }, slowTimeoutMs, call);
    },
    freeze: () => mux.freeze(),
    [Symbol.asyncDispose]: () => mux.close(),
  };
}
