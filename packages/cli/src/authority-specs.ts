// The commands around what sessions may reach, as data.

import { approvalStates } from '@bulkhead/protocol';
import type { CommandSpec, OptionSpec } from './command.ts';
import { help, json, server } from './option-specs.ts';

const tenant: OptionSpec = { type: 'string', value: 'ID', help: 'whose; your own tenant’s unless said' };
const session: OptionSpec = { type: 'string', value: 'ID', help: 'only those of a session' };
const since: OptionSpec = { type: 'string', value: 'TIME', help: 'only from then on: 7d, 12h, 30m ago, or a date' };
const last = (usual: number): OptionSpec => ({
  type: 'string',
  value: 'N',
  help: `at most so many, the newest; ${usual} unless said`,
});

export const authoritySpecs: readonly CommandSpec[] = [
  {
    name: 'policy',
    usage: 'policy check FILE | test FILE | explain DECISION | diff FILE | replay | get | set FILE [OPTION]...',
    summary: 'what sessions may do with tools: tried before it counts, explained afterwards',
    description: `Policies are written in Cedar. They count from the next call of a tool on, in every session.
  check FILE        what is wrong with them, and where; exit code 2 when something is
  test FILE         tries cases against them; exit code 1 when one comes out otherwise than it says
  explain DECISION  the policies that determined it, their text, what they saw, what the session was granted
  diff FILE         which recorded decisions would come out differently if these replaced the present ones
  replay            asks recorded decisions again of the policies that each names; exit code 1 when one comes out differently
  get, set FILE     those that are set
With --tools, check and test ask no server: the file is what \`bulkhead tool list --json\` prints. The tests are JSON:
  { "session": { "labels": { "desk": "rates" } },
    "cases": [ { "name": "own desk", "call": "positions.by_symbol", "arguments": { "symbol": "DAX" }, "expect": "allow",
                 "policies": ["read-positions"] } ] }
A case may have a session of its own (subject, labels, region, tier, runtime, ageSeconds, turnCount, isFork, grant, subjectDisabled), and
\`resource\` (type, id, within) where the tool's settings do not say it. It expects allow, deny, ask, or invalid for arguments that are refused.`,
    options: {
      tenant,
      tools: { type: 'string', value: 'FILE', help: 'check, test: the tools, in place of the tenant’s' },
      policies: { type: 'string', value: 'FILE', help: 'test: the policies; those that are set unless said' },
      'if-version': {
        type: 'string',
        value: 'N',
        help: 'set: only when nobody has changed anything since that version',
      },
      session: { ...session, help: `diff, replay: ${session.help}` },
      since: { ...since, help: `diff, replay: ${since.help}` },
      last: { ...last(1000), help: `diff, replay: ${last(1000).help}` },
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead policy check policies.cedar', 'before they are set'],
      [
        'bulkhead policy test tests.json --policies policies.cedar --tools tools.json',
        'in a pipeline, without a server',
      ],
      ['bulkhead policy diff policies.cedar --since 7d', 'what these would have decided otherwise last week'],
      ['bulkhead policy replay --session ID', 'whether the record is what the policies say'],
    ],
  },
  {
    name: 'tool',
    usage: 'tool list | set NAME FILE | remove NAME | import-openapi FILE [OPTION]...',
    summary: 'the tools of a tenant: what its sessions can be granted',
    description: `A tool runs on the host of the server, so setting one up needs the scope installation:admin. It is opened first: one that does not work is
not kept. FILE has its settings in JSON; passwords in it are names of secrets (\`bulkhead secret\`).
  import-openapi reads an OpenAPI 3 document, in JSON or YAML, and prints the settings of a tool that offers its operations. Nothing is
  fetched and nothing is set up. An operation that is not certain to be written as the service reads it is left out, with the
  reason, and is an error when it was asked for.`,
    options: {
      tenant,
      operations: {
        type: 'string',
        value: 'NAMES',
        help: 'import-openapi: only these, with commas between: the operationId, or "GET /path"; all of them unless said',
      },
      origin: {
        type: 'string',
        value: 'URL',
        help: 'import-openapi: where the service is, whatever the document says',
      },
      secret: { type: 'string', value: 'NAME', help: 'import-openapi: the secret that the service is called with' },
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead tool set positions positions.json --tenant ID', 'opened, then kept'],
      ['bulkhead tool list --json', 'with their settings; for `policy --tools`'],
      ['bulkhead tool import-openapi market.yaml --operations getPrice > market.json', 'for `tool set`'],
    ],
  },
  {
    name: 'secret',
    usage: 'secret list | set NAME | remove NAME [OPTION]...',
    summary: 'what tools are opened with; sealed, and never shown again',
    description: `The secret is read from standard input, or typed at a prompt that does not show it: never from an argument, which others could see. One
line end at its end is left out. This needs the scope installation:admin.`,
    options: { tenant, server, json, help },
    examples: [
      ['bulkhead secret set db --tenant ID < password-file', 'from a file'],
      ['bulkhead secret list', 'their names, and when each was changed'],
    ],
  },
  {
    name: 'subject',
    usage: 'subject list | disable NAME | enable NAME [OPTION]...',
    summary: 'subjects that are disabled: their keys, tokens and sessions are refused',
    description: `Every call of a tool that a session of a disabled subject makes is denied from the next on, after a sleep too; its keys and tokens are not known
any more within two seconds. Its sessions are not ended, and ports of theirs that are exposed stay so: \`bulkhead session terminate\` ends one. Enabling takes it back.`,
    options: { tenant, server, json, help },
    examples: [
      ['bulkhead subject disable agent-7', 'at once'],
      ['bulkhead subject list', 'who is disabled'],
    ],
  },
  {
    name: 'decision',
    usage: 'decision list | show ID [OPTION]...',
    summary: 'what was decided about calls of tools',
    description: `Every decision of your tenant is on record, with the policies that determined it. \`bulkhead policy explain ID\` says why, with their text and the
arguments.`,
    options: {
      session,
      outcome: { type: 'string', value: 'OUTCOME', help: 'list: only allow, deny or ask' },
      since,
      last: last(50),
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead decision list --outcome deny --since 24h', 'what was refused since yesterday'],
      ['bulkhead decision show ID --json', 'one, as it is on record'],
    ],
  },
  {
    name: 'approval',
    usage: 'approval list | show ID | approve ID | refuse ID [OPTION]...',
    summary: 'calls that wait for a person: seen with their exact arguments, answered once',
    description: `A policy with @approval("required") makes a call wait. Somebody else than who runs the session approves or refuses it, with a key of the role
approver (scope approvals:write). What is approved are the arguments that are shown, once; grant and policies are asked again before it is done.`,
    options: {
      state: { type: 'string', value: 'STATE', help: `list: ${approvalStates.join(', ')}; pending unless said` },
      all: { type: 'boolean', help: 'list: whatever their state' },
      session: { ...session, help: `list: ${session.help}` },
      reason: { type: 'string', value: 'TEXT', help: 'approve, refuse: why; it is on the record' },
      last: { ...last(200), help: `list: ${last(200).help}` },
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead approval list', 'what waits'],
      ['bulkhead approval show ID', 'exactly what would be done'],
      ['bulkhead approval refuse ID --reason not-this-month', 'the call is denied'],
    ],
  },
];
