// The edge between the command line and the process: streams, signals, exit code. Below it nothing touches `process`.

import { setMaxListeners } from 'node:events';
import { isatty } from 'node:tty';
import type { CommandContext } from './command.ts';
import { Interrupts } from './interrupts.ts';
import { main } from './run-command-line.ts';
import { Output } from './output.ts';

export async function runProcess(): Promise<void> {
  const interrupts = new Interrupts();
  // One signal serves every step of a command.
  setMaxListeners(0, interrupts.ended);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (interrupts.ended.aborted) process.exit(130);
      if (name === 'SIGINT') interrupts.interrupt();
      else interrupts.end();
    });
  }
  const stderr = new Output(process.stderr, () => undefined);
  const context: CommandContext = {
    stdin: process.stdin,
    stdinIsTty: isatty(0),
    stdout: new Output(process.stdout, () => {
      stderr.mute();
      interrupts.end();
    }),
    stderr,
    terminal: process.stdout,
    interrupts,
    elapsedMs: () => performance.now(),
    workingDir: process.cwd(),
  };
  const exitCode = await main(process.argv.slice(2), context);
  await Promise.all([context.stdout.flush(), context.stderr.flush()]);
  process.exit(context.stdout.broken ? 141 : exitCode);
}
