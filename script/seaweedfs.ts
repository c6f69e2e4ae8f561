// SeaweedFS on loopback: an object store that enforces what the credentials of a session are bound to. It has one account, and one role that may do
// everything with objects and that nobody but this account may assume: what keys of the role are refused, their session policy refuses.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { freePorts, whenReady } from './loopback-server.ts';
import { preparePython } from './python-environment.ts';

export interface Seaweedfs extends AsyncDisposable {
  /** Of S3 and of STS. */
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly roleArn: string;
}

const parts = ['master', 'volume', 'filer', 's3'] as const;
const user = 'installation';
/** Its users are in this account, whatever the account of a role. */
const userArn = `arn:aws:iam::000000000000:user/${user}`;
const roleArn = 'arn:aws:iam::123456789012:role/sessions';
/** Somebody else can take one of its ports before it does. */
const maxAttempts = 3;

/** The program `weed`. Throws what pip said. */
export async function prepareSeaweedfs(): Promise<string> {
  return join(dirname(await preparePython('script/requirements-seaweedfs.txt')), 'weed');
}

/** What it keeps is in `folder`, which is made where it is not there and stays. */
export async function startSeaweedfs(folder: string): Promise<Seaweedfs> {
  const program = await prepareSeaweedfs();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start(program, join(folder, String(attempt)));
    } catch (error) {
      if (attempt === maxAttempts) throw error;
    }
  }
}

async function start(program: string, folder: string): Promise<Seaweedfs> {
  const accessKeyId = user;
  const secretAccessKey = `secret-of-objects-${randomBytes(12).toString('hex')}`;
  mkdirSync(join(folder, 'data'), { recursive: true });
  const write = (name: string, value: object): string => {
    const path = join(folder, name);
    writeFileSync(path, JSON.stringify(value), { mode: 0o600 });
    return path;
  };
  const ports = await freePorts(2 * parts.length);
  const httpPorts = ports.slice(0, parts.length);
  const grpcPorts = ports.slice(parts.length);
  const urlOf = (part: (typeof parts)[number]): string => `http://127.0.0.1:${httpPorts[parts.indexOf(part)]}`;
  const child = spawn(
    program,
    [
      'server',
      `-dir=${join(folder, 'data')}`,
      '-ip=127.0.0.1',
      '-ip.bind=127.0.0.1',
      ...parts.flatMap((part, place) => [
        `-${part}.port=${httpPorts[place]}`,
        `-${part}.port.grpc=${grpcPorts[place]}`,
      ]),
      '-master.peers=none',
      '-master.telemetry=false', // it would tell its makers
      '-volume.max=16',
      '-filer',
      `-filer.localSocket=${join(folder, 'filer.sock')}`,
      '-s3',
      '-s3.port.iceberg=0',
      '-s3.port.lance=0',
      `-s3.localSocket=${join(folder, 's3.sock')}`,
      `-s3.config=${write('identities.json', identities(accessKeyId, secretAccessKey))}`,
      `-s3.iam.config=${write('iam.json', iam())}`,
    ],
    { cwd: folder, stdio: 'ignore', env: { HOME: folder } },
  );
  await using opening = new AsyncDisposableStack();
  opening.defer(() => {
    for (const [place, part] of parts.entries())
      rmSync(`/tmp/seaweedfs-${part}-grpc-${grpcPorts[place]}.sock`, { force: true });
  });
  opening.use(await whenReady(child, [`${urlOf('s3')}/healthz`, `${urlOf('volume')}/healthz`]));
  const open = opening.move();
  return { url: urlOf('s3'), accessKeyId, secretAccessKey, roleArn, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

function identities(accessKey: string, secretKey: string): object {
  return { identities: [{ name: user, credentials: [{ accessKey, secretKey }], actions: ['Admin'] }] };
}

function iam(): object {
  const version = '2012-10-17';
  const trust = { Effect: 'Allow', Principal: { AWS: userArn }, Action: 'sts:AssumeRole' };
  const all = { Effect: 'Allow', Action: ['s3:*'], Resource: ['*'] };
  return {
    sts: {
      issuer: 'bulkhead-tests',
      signingKey: randomBytes(32).toString('base64'),
      tokenDuration: '1h',
      maxSessionLength: '12h',
    },
    policy: { defaultEffect: 'Deny', storeType: 'memory' },
    roles: [
      {
        roleName: 'sessions',
        roleArn,
        trustPolicy: { Version: version, Statement: [trust] },
        attachedPolicies: ['objects'],
      },
    ],
    policies: [{ name: 'objects', document: { Version: version, Statement: [all] } }],
  };
}
