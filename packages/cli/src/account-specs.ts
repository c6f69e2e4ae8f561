// The commands around servers, tenants and keys, as data.

import { roleNames, roles, scopes, tiers } from '@bulkhead/protocol';
import type { CommandSpec, OptionSpec } from './command.ts';
import { help, json, server } from './option-specs.ts';

const quotaOption = (what: string): OptionSpec => ({
  type: 'string',
  value: 'N',
  help: `create, update: ${what}, or "unlimited"`,
});

const roleHelp = roleNames.map((name) => `  ${name.padEnd(10)} ${roles[name].join(' ')}`).join('\n');

export const accountSpecs: readonly CommandSpec[] = [
  {
    name: 'login',
    usage: 'login [URL] [OPTION]...',
    summary: 'work on a server from now on',
    description: `Asks the server who you are with your key, and keeps both where only you can read them. \`run\`, \`shell\`, \`session\`, \`tenant\` and
\`key\` then work there; what they print is the same. The key is typed at a prompt that does not show it, or read from a pipe.
Which server a command asks: --server, BULKHEAD_URL, that of the login, one that runs on this host; otherwise it does the work itself. A
key is sent to the server that it was given for, and to no other; BULKHEAD_API_KEY takes its place.`,
    options: {
      'allow-plain-http': { type: 'boolean', help: 'send the key without TLS to a server that is not on this host' },
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead login https://bulkhead.example.com', 'asks for the key'],
      ['bulkhead login http://127.0.0.1:8420 < key-file', 'the key from a file'],
    ],
  },
  {
    name: 'logout',
    usage: 'logout [OPTION]...',
    summary: 'forget the server and its key',
    description: 'Removes what `login` keeps. The key stays good: `bulkhead key revoke` ends one.',
    options: { json, help },
    examples: [['bulkhead logout', 'commands work on this host again']],
  },
  {
    name: 'whoami',
    usage: 'whoami [OPTION]...',
    summary: 'where commands work, and as whom',
    description: 'The server, the tenant, the subject that sessions belong to, and the scopes: what you may do.',
    options: { server, json, help },
    examples: [['bulkhead whoami --json', 'for programs']],
  },
  {
    name: 'tenant',
    usage: 'tenant create NAME | list | show ID | update ID | delete ID [OPTION]...',
    summary: 'the tenants of a server, and what each may have',
    description: `A tenant is a customer whose data never meets another's. It has keys (\`bulkhead key\`), quotas, and a tier below which its sessions are
not launched. This needs the scope installation:admin, which the first key of a server has.
  update changes what is named and leaves the rest.
  delete ends every session of the tenant, revokes its keys and removes what was kept of it. It cannot be taken back.`,
    options: {
      sessions: quotaOption('sessions that have not ended'),
      machines: quotaOption('of these, awake'),
      memory: quotaOption('memory of the machines that are awake, in MiB'),
      disk: quotaOption('scratch disks of the sessions that have not ended, in MiB'),
      rate: quotaOption('requests a second'),
      'minimum-tier': {
        type: 'string',
        value: 'TIER',
        help: `create, update: sessions get no machine that is weaker: ${tiers.join(', ')}`,
      },
      retention: { type: 'string', value: 'DAYS', help: 'create, update: how long what turns printed is kept' },
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead tenant create acme --sessions 100 --machines 10', 'a tenant with two quotas of its own'],
      ['bulkhead tenant update ID --minimum-tier vm-kvm', 'only machines with hardware virtualisation'],
      ['bulkhead tenant list', 'every tenant'],
    ],
  },
  {
    name: 'key',
    usage: 'key create NAME | list | show ID | rotate ID | revoke ID [OPTION]...',
    summary: 'API keys: made, rotated without downtime, revoked',
    description: `A key belongs to a tenant and acts for a subject: the sessions that it makes are that subject's. It can do no more than who made it.
Its secret is shown once, when it is made or rotated.
  create   with a role or with scopes
  rotate   a new secret; the old one works a little longer, so that nothing fails while it is replaced
  revoke   ends it at once
Roles:
${roleHelp}
Scopes: ${scopes.join(', ')}.`,
    options: {
      tenant: { type: 'string', value: 'ID', help: 'whose keys; your own tenant’s unless said' },
      role: { type: 'string', value: 'ROLE', help: `create: ${roleNames.join(', ')}` },
      scope: { type: 'string', multiple: true, value: 'SCOPE', help: 'create: in place of a role' },
      subject: { type: 'string', value: 'NAME', help: 'create: on whose behalf; your own unless said' },
      expires: { type: 'string', value: 'TIME', help: 'create: 90d, 12h, 4w or a date; never unless said' },
      grace: {
        type: 'string',
        value: 'SECONDS',
        help: 'rotate: how long the old secret still works; an hour unless said',
      },
      server,
      json,
      help,
    },
    examples: [
      ['bulkhead key create ci --role developer --expires 90d', 'its secret, once'],
      ['bulkhead key rotate ID --grace 86400', 'a day to put the new one everywhere'],
      ['bulkhead key list --json', 'who may do what, and when each was last used'],
    ],
  },
];
