// Every command as data: parsing, help and suggestions are made from this.

import { languages, sizeNames, sizes, tiers } from '@bulkhead/protocol';
import { accountSpecs } from './account-specs.ts';
import { authoritySpecs } from './authority-specs.ts';
import type { CommandSpec, OptionSpec } from './command.ts';
import { help, json, quiet, server } from './option-specs.ts';

const sizeHelp = sizeNames
  .map((name) => `${name} (${sizes[name].vcpus} CPU, ${sizes[name].memoryMib} MiB, ${sizes[name].scratchMib} MiB disk)`)
  .join(', ');

const size: OptionSpec = { type: 'string', value: 'SIZE', help: `what the session is given: ${sizeHelp}` };
const runtime: OptionSpec = {
  type: 'string',
  value: 'RUNTIME',
  help: 'qemu or gvisor, and nothing in its place; the strongest that works here unless said',
};
const minimumTier: OptionSpec = {
  type: 'string',
  value: 'TIER',
  help: `no weaker wall than this: ${tiers.slice(0, -1).join(', ')}`,
};
const timeout: OptionSpec = {
  type: 'string',
  value: 'TIME',
  help: 'stop a turn after so long: 2 (seconds), 500ms, 5m; two minutes unless said',
};
const figures: OptionSpec = {
  type: 'string',
  value: 'FOLDER',
  help: 'where figures are saved; the current folder unless said, "none" to save none',
};

export const commandSpecs: readonly CommandSpec[] = [
  {
    name: 'run',
    usage: 'run [CODE | -] [OPTION]...',
    summary: 'run code in a virtual machine of its own',
    description: `Launches a machine, runs the code in it as one turn, shows what it prints as it prints it, and destroys the machine.
The code is the argument, a file (-f), or standard input. The value of the last expression is shown; figures are saved.
Nothing the code does reaches this host: it sees no file of yours but those you give it with --file, and no network.`,
    options: {
      file: {
        type: 'string',
        multiple: true,
        value: 'LOCAL[:GUEST]',
        help: 'give the session a file; it arrives in /home/user under its own name unless said',
      },
      out: {
        type: 'string',
        multiple: true,
        value: 'GUEST[:LOCAL]',
        help: 'fetch a file when the code has ended; into the current folder unless said',
      },
      script: { type: 'string', short: 'f', value: 'FILE', help: 'read the code from this file' },
      lang: { type: 'string', short: 'l', value: 'LANGUAGE', help: `${languages.join(', ')}; python unless said` },
      timeout,
      size,
      server,
      runtime,
      'minimum-tier': minimumTier,
      session: { type: 'string', value: 'ID', help: 'a turn in a session that is kept, instead of in a new one' },
      figures,
      json: { type: 'boolean', help: 'print one JSON document when it is over, whatever happened' },
      quiet,
      help,
    },
    examples: [
      [`bulkhead run 'print(6*7)'`, 'the smallest one'],
      [`bulkhead run -f analyse.py --file prices.csv --out report.html`, 'a file in, a file out'],
      [`cat model.js | bulkhead run --lang javascript`, 'code from a pipe'],
      [`bulkhead run --session ID 'x = 41'`, 'a turn in a session that is kept; `x` is there in the next'],
      [`bulkhead run --timeout 2 'while True: pass'`, 'ends with turn_timeout, exit code 124'],
      [`bulkhead run --json '1/0' | jq .error.code`, 'for programs: "turn_failed"'],
    ],
  },
  {
    name: 'shell',
    usage: 'shell [OPTION]...',
    summary: 'an interactive session whose variables live on from turn to turn',
    description: `One session, many turns. Type Python; a block that is not finished goes on to the next line, an empty line ends it.
Ctrl-C interrupts the turn, Ctrl-D ends the session. Lines that are not code:
  !COMMAND               run a command with bash
  %lang LANGUAGE         switch to ${languages.join(', ')}
  :files [FOLDER]        what is in the session's home, or in a folder
  :upload LOCAL [GUEST]  :download GUEST [LOCAL]
  :restart               start the interpreter anew: variables go, files stay
  :session               the session, its machine and tier
  :timeout TIME          the limit of the turns to come
  :help                  :quit
From a pipe, an empty line ends a turn (not within brackets, a string, or before a line that continues the block; two empty
lines always end a Python block). The exit code is 0, or that of the last turn that failed.`,
    options: {
      lang: { type: 'string', short: 'l', value: 'LANGUAGE', help: `the language to begin with; python unless said` },
      timeout,
      size,
      runtime,
      'minimum-tier': minimumTier,
      figures,
      lines: { type: 'boolean', help: 'from a pipe: every line is a turn' },
      server,
      json: { type: 'boolean', help: 'one JSON document a turn, each on its own line' },
      quiet,
      help,
    },
    examples: [
      ['bulkhead shell', 'a session to try things in'],
      [`printf 'x = 41\\n\\nprint(x + 1)\\n' | bulkhead shell`, 'prints 42: two turns, one session'],
      ['bulkhead shell --json < turns.py | jq .results', 'figures, tables and tracebacks as data'],
    ],
  },
  {
    name: 'session',
    usage: 'session create|list|show|attach|suspend|resume|fork|checkpoint|restore|terminate [ID] [NAME] [OPTION]...',
    summary: 'sessions that are kept: suspended, resumed, forked, put back',
    description: `A kept session sleeps whenever no command works with it: its memory, files and processes lie sealed on the disk, and it takes
neither memory nor processor time. The next command that needs it resumes it, where it was. On a server it goes on, and sleeps when
it has been idle for as long as it may.
  create                 a new one
  list, show ID          what there is, and all that is known of one
  attach ID              a shell in it; \`bulkhead run --session ID CODE\` is a single turn
  suspend ID, resume ID  writes it out; tries that it can be resumed
  fork ID [-n N]         new sessions that begin as copies of it; each has randomness, names and keys of its own
  checkpoint ID [NAME]   keeps what it is now under a name (--delete: forgets that one); without a name, lists them
  restore ID NAME        puts it back to a checkpoint, in place
  terminate ID           ends it; its key is destroyed, so that nothing that is left of it can be read
A session ends by itself when its lifetime is over, or when it has slept for as long as it may.`,
    options: {
      n: { type: 'string', short: 'n', value: 'N', help: 'fork: how many; one unless said' },
      delete: { type: 'boolean', help: 'checkpoint: forget the one of that name' },
      all: { type: 'boolean', help: 'list: those that have ended, too' },
      idle: { type: 'string', value: 'TIME', help: 'create: suspended after so long without a turn; 30m unless said' },
      sleep: { type: 'string', value: 'TIME', help: 'create: ended after so long asleep' },
      lifetime: {
        type: 'string',
        value: 'TIME',
        help: 'create: ended after so long, whatever it does; 8h unless said',
      },
      grant: {
        type: 'string',
        multiple: true,
        value: 'TOOL.OPERATION',
        help: 'create: a tool that it may use as far as policies allow it, or TOOL.*; none unless said',
      },
      size,
      runtime,
      'minimum-tier': minimumTier,
      lang: { type: 'string', short: 'l', value: 'LANGUAGE', help: 'attach: the language to begin with' },
      timeout,
      figures,
      lines: { type: 'boolean', help: 'attach, from a pipe: every line is a turn' },
      server,
      json,
      quiet,
      help,
    },
    examples: [
      ['bulkhead session create', 'prints its id'],
      [`bulkhead session attach ID`, 'a shell in it, from where it was left'],
      ['bulkhead session fork ID -n 3', 'three that go different ways from here'],
      ['bulkhead session checkpoint ID before-the-risky-step', 'restore ID before-the-risky-step goes back'],
    ],
  },
  ...accountSpecs,
  ...authoritySpecs,
  {
    name: 'serve',
    usage: 'serve [OPTION]...',
    summary: 'the HTTP server: sessions for many tenants',
    description: `Serves the API on 127.0.0.1:8420 unless told otherwise; \`bulkhead help environment\` has the rest (TLS, quotas, a shared database).
The first start makes a tenant and prints its key, once. SIGTERM or Ctrl-C: no more requests, turns that run may end, sessions are put to
sleep; the second one ends it at once. The log goes to stderr, a line of JSON each.`,
    options: {
      host: { type: 'string', value: 'ADDRESS', help: 'where to listen; beyond loopback it needs a certificate' },
      port: { type: 'string', value: 'PORT', help: '8420 unless said; 0 is any that is free' },
      json: {
        type: 'boolean',
        help: 'what it says as JSON, a document a line: first_key, listening, ready, stopping, stopped',
      },
      quiet,
      help,
    },
    examples: [
      ['bulkhead serve', 'on this host, for this host'],
      ['bulkhead serve --json --port 0', 'for programs: the first lines say the key and the address'],
    ],
  },
  {
    name: 'gc',
    usage: 'gc [OPTION]...',
    summary: 'end what is over, remove what nobody needs',
    description: `Compares what is written down of sessions with what is on this host, both ways: ends sessions whose time is over, removes
files and keys of none, and what turns printed when it was kept long enough.`,
    options: {
      days: {
        type: 'string',
        value: 'DAYS',
        help: 'how long what turns printed is kept; unless said, as each tenant has it',
      },
      json,
      quiet,
      help,
    },
    examples: [['bulkhead gc --json', 'what was found and done']],
  },
  {
    name: 'mcp',
    usage: 'mcp [OPTION]...',
    summary: 'tools for a model, over standard input and output',
    description: `Speaks the Model Context Protocol with the client that starts it: Claude Desktop, Claude Code, Cursor, or a program of yours.
The model gets tools that run code, read and write files, and create, suspend, resume, fork and terminate sessions.
Sessions are this host's, or those of the server that commands ask (see \`bulkhead help login\`): BULKHEAD_URL names one, BULKHEAD_API_KEY says who asks.`,
    options: {
      keep: {
        type: 'boolean',
        help: 'sessions are kept: they can sleep, and those that were created outlive the client (one process at a time)',
      },
      server,
      quiet,
      help,
    },
    examples: [
      ['bulkhead mcp', 'what a client is told to start: claude mcp add bulkhead -- bulkhead mcp'],
      ['BULKHEAD_URL=https://bulkhead.example.com BULKHEAD_API_KEY=… bulkhead mcp', 'for clients that speak no HTTP'],
    ],
  },
  {
    name: 'image',
    usage: 'image build|list|inspect [IMAGE]|prune [OPTION]...',
    summary: 'the guest images of this host',
    description: `An image is a kernel, an initramfs and a read-only root, made from Debian packages. The first session builds it when it is
missing. \`inspect\` shows every package in it, with version and digest; \`prune\` removes all but the newest,
and the templates that were made from the others.`,
    options: { json, quiet, help },
    examples: [
      ['bulkhead image build', 'make it now, so that the first session need not wait'],
      ['bulkhead image list', 'what there is'],
      ['bulkhead image inspect --json', 'what is in it'],
    ],
  },
  {
    name: 'doctor',
    usage: 'doctor [OPTION]...',
    summary: 'what this host can do, and what to change',
    description: `Tries what sessions need and says what was found: whether KVM truly works, what the jail can use, memory, versions.
Exit code 1 when sessions cannot run here.`,
    options: { json, help },
    examples: [
      ['bulkhead doctor', 'a report with what to change'],
      ['bulkhead doctor --json | jq .tier', 'how strong the wall is here'],
    ],
  },
  {
    name: 'plan',
    usage: 'plan [OPTION]...',
    summary: 'which runtime a session would get here, and why',
    description: `Tries every runtime and says what a session would be given, by the rule that placement goes by: what is named is taken, or
nothing is; what isolates less than the strongest of the minima (of this host, the tenant, the session) is never taken; of the
rest the strongest tier. Starts nothing. Exit code 69 when no session could be had.`,
    options: { runtime, 'minimum-tier': minimumTier, json, help },
    examples: [
      ['bulkhead plan', 'what there is, and what would be chosen'],
      ['bulkhead plan --minimum-tier vm-kvm', 'whether a session that insists on hardware virtualisation runs here'],
    ],
  },
  {
    name: 'bench',
    usage: 'bench launch|create|turn|keep|density|crowd|suspend|resume|fork|sleep|http|authority|load [OPTION]...',
    summary: 'measure this host, beside what you would pick instead',
    description: `Each number says what its clock measured, from where to where. Ratios to the baselines of the same run are what travels to
other machines. \`load\` starts a server of its own and has many clients work with it; exit code 1 when one was answered what it should not have been,
when the server's memory grew, or when anything is left of it.`,
    options: {
      n: { type: 'string', short: 'n', value: 'N', help: 'how many times' },
      clients: { type: 'string', value: 'N', help: '`load`: clients at once; 64 unless said' },
      tenants: { type: 'string', value: 'N', help: '`load`: tenants that they are of; 10 unless said' },
      seconds: { type: 'string', value: 'N', help: '`load`: for how long; 60 unless said' },
      runtime: {
        type: 'string',
        multiple: true,
        value: 'RUNTIME',
        help: 'qemu or gvisor, several times for several, or "all" that work here; the one that a session gets unless said',
      },
      json,
      quiet,
      help,
    },
    examples: [
      ['bulkhead bench launch -n 50', 'from the call to a confirmed, unique machine'],
      ['bulkhead bench turn -n 200 --json', 'what a turn costs on top of its own work'],
      ['bulkhead bench http -n 50', 'the same over HTTP, and files both ways'],
      [
        'bulkhead bench authority -n 1000',
        'a decision by the number of policies, and what it adds to a call of a tool',
      ],
      ['bulkhead bench density -n 40', 'what an idle session keeps in memory'],
      ['bulkhead bench launch --runtime all', 'on every runtime that works here, in one run'],
      ['bulkhead bench resume -n 30', 'from asleep on the disk to a result, by how much was touched'],
      ['bulkhead bench load --clients 64 --tenants 10', 'what many clients at once get, and how long they wait'],
    ],
  },
  {
    name: 'help',
    usage: 'help [COMMAND | exit-codes | environment]',
    summary: 'help on a command, on exit codes, on the environment',
    description: 'The same as --help on a command.',
    options: { help },
    examples: [
      ['bulkhead help run', 'all about run'],
      ['bulkhead help exit-codes', 'what every exit code means'],
    ],
  },
  {
    name: 'version',
    usage: 'version [OPTION]...',
    summary: 'the version of Bulkhead and of what it runs on',
    description: 'The version of Bulkhead, of Node and of the channel.',
    options: { json, help },
    examples: [['bulkhead version --json', 'for a bug report']],
  },
];
