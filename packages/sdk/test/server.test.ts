// The client and the server, on the fake runtime: what one is told by the table, the other does.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type Socket, connect, createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { type TurnEvent, makeId } from '@bulkhead/protocol';
import { type TestService, startService } from '../../server/test/api/harness.ts';
import { mulberry32 } from '../../server/src/runtimes/fake/fake-runtime.ts';
import { Bulkhead, BulkheadError, chunksOf } from '../src/index.ts';

describe('the client and the server', () => {
  let service: TestService | undefined;
  before(async () => {
    service = await startService();
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
  });
  const running = (): TestService => service ?? assert.fail('the service runs');
  const clientOf = (url: string = running().url): Bulkhead => new Bulkhead({ url, apiKey: running().admin.secret });

  it('run code in one session, turn after turn; results are text, images and tables', async () => {
    const client = clientOf();
    await using session = await client.sessions.create({ labels: { team: 'risk' } });
    assert.equal(session.state, 'ready');
    await session.run('x = 41');
    assert.equal((await session.run('print(x + 1)')).text, '42\n');
    const [figure, table] = [await session.run('fake.figure()'), await session.run('fake.table()')];
    assert.deepEqual([...(figure.images[0]?.bytes.subarray(1, 4) ?? [])], [...Buffer.from('PNG')]);
    assert.equal(table.results.length, 1);
    const failed = await session.run('1/0');
    assert.deepEqual([failed.status, failed.exception?.name, failed.context], ['error', 'ZeroDivisionError', 'kept']);
    assert.throws(() => failed.check(), { code: 'turn_failed' });
    const slow = await session.run('while True: pass', { timeoutMs: 50 });
    assert.equal(slow.error?.code, 'turn_timeout');
    assert.equal((await session.turns().all()).length, 6);
    assert.equal((await session.turn(failed.turnId)).result?.error?.code, 'turn_failed');
    const { items } = await client.sessions.list({ labelKey: 'team', labelValue: 'risk' }).page();
    assert.deepEqual(
      items.map(({ id }) => id),
      [session.id],
    );
  });

  it('tell a turn byte for byte over a connection that is cut at random, and the code ran once', async () => {
    const random = mulberry32(20_260_101);
    await using proxy = await startCuttingProxy(new URL(running().url), () => Math.floor(random() * 60_000));
    await using session = await clientOf(proxy.url).sessions.create();
    await session.run('runs = 0');
    const code = `runs = runs + 1\n${Array.from({ length: 40 }, () => 'fake.flood(20000)\nfake.stderr("é")').join('\n')}`;
    const stream = session.stream(code);
    const events: TurnEvent[] = [];
    for await (const event of stream) events.push(event);
    assert.ok(proxy.cuts >= 5, `${proxy.cuts} cuts`);
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, index) => index + 1),
    );
    // Told by the server itself, over a connection that nobody cuts.
    const direct = await clientOf().sessions.get(session.id);
    const { result } = await direct.turn(await stream.turnId);
    assert.deepEqual(JSON.parse(JSON.stringify(await stream.result())), result);
    assert.equal(result?.stdout.length, 800_000);
    assert.equal(result?.stderr, 'é'.repeat(40));
    assert.equal((await direct.run('print(runs)')).text, '1\n');
  });

  it('stop a turn when its caller gives up, and when it is cancelled', async () => {
    const client = clientOf();
    await using session = await client.sessions.create();
    const stop = new AbortController();
    const interrupted = session.stream('print("on")\nwhile True: pass', { signal: stop.signal });
    await assert.rejects(
      (async () => {
        for await (const event of interrupted) if (event.type === 'stdout') stop.abort();
      })(),
      { code: 'cancelled' },
    );
    await client[Symbol.asyncDispose]();
    const ended = await session.follow(await interrupted.turnId).result();
    assert.equal(ended.error?.code, 'turn_interrupted');
    const cancelled = session.stream('while True: pass');
    await cancelled.cancel();
    assert.equal((await cancelled.result()).error?.code, 'turn_interrupted');
  });

  it('move files, run commands, list processes', async () => {
    await using session = await clientOf().sessions.create();
    const bytes = randomBytes(3_000_000);
    await session.files.write('data.bin', new Blob([bytes]));
    const read: Uint8Array[] = [];
    for await (const chunk of chunksOf(await session.files.stream('data.bin'))) read.push(chunk);
    assert.ok(Buffer.concat(read).equals(bytes));
    assert.equal((await session.files.stat('data.bin')).sizeBytes, bytes.length);
    await session.files.write('t.txt', 'text');
    assert.equal(await session.files.readText('t.txt'), 'text');
    const names = (await session.files.list()).items.map(({ name }) => name);
    assert.deepEqual(names.toSorted(), ['data.bin', 't.txt']);
    await assert.rejects(session.files.read('none'), { code: 'file_error' });
    const result = await session.commands.run(['echo', 'hello']);
    assert.equal(result.exitCode, 0);
    let told = '';
    let end: string | undefined;
    for await (const event of session.commands.stream(['echo', 'hello'])) {
      if (event.type === 'end') end = event.type;
      else told += event.text;
    }
    assert.deepEqual([told, end], [result.stdout, 'end']);
    assert.deepEqual(await session.commands.processes(), []);
  });

  it('open a terminal', async () => {
    await using session = await clientOf().sessions.create();
    const terminal = await session.terminal({ columns: 100, rows: 30 });
    const seen: string[] = [];
    const reading = (async () => {
      for await (const chunk of terminal) seen.push(new TextDecoder().decode(chunk));
    })();
    terminal.write('stty size\n');
    terminal.write('exit 3\n');
    assert.equal((await terminal.exit).exitCode, 3);
    await reading;
    assert.match(seen.join(''), /30 100/);
    const elsewhere = await clientOf().sessions.get(session.id);
    await session.terminate();
    await assert.rejects(elsewhere.terminal(), { code: 'session_ended' });
  });

  it('suspend, resume, fork, checkpoint and label', async () => {
    await using session = await clientOf().sessions.create();
    await session.run('x = 1');
    assert.equal((await session.suspend()).state, 'suspended');
    assert.equal((await session.run('print(x)')).text, '1\n', 'a turn wakes it');
    await session.checkpoints.create('one');
    await session.run('x = 2');
    const [fork] = await session.fork();
    assert.ok(fork !== undefined);
    await session.checkpoints.restore('one');
    assert.equal((await session.run('print(x)')).text, '1\n');
    assert.equal((await fork.run('print(x)')).text, '2\n');
    await fork.terminate();
    assert.equal((await session.checkpoints.list()).length, 1);
    await session.checkpoints.delete('one');
    await session.refresh();
    assert.deepEqual((await session.setLabels({ a: 'b' }, { ifUnchanged: true })).labels, { a: 'b' });
    await assert.rejects(fork.run('1'), { code: 'session_ended' });
  });

  it('set up what sessions may reach, and read what was decided', async () => {
    const client = clientOf();
    const tenant = await client.tenants.create({ name: 'sdk-authority' });
    const authority = client.tenants.authority(tenant.id);
    const { version } = await authority.setSecret('db', 'a secret');
    assert.deepEqual(
      (await authority.get()).secrets.map(({ name }) => name),
      ['db'],
    );
    const policies = '@id("nothing") forbid(principal, action, resource);';
    assert.match((await authority.checkPolicies('nonsense')).problems[0]?.message ?? '', /unexpected/);
    assert.equal((await authority.setPolicies(policies, { ifVersion: version })).policies, policies);
    await assert.rejects(authority.setPolicies('', { ifVersion: version }), { code: 'precondition_failed' });
    const tool = {
      kind: 'sql',
      description: 'd',
      host: '127.0.0.1',
      port: 1,
      database: 'd',
      user: 'u',
      tls: 'off',
    } as const;
    await assert.rejects(authority.setTool('positions', tool), { code: 'tool_failed' });
    assert.deepEqual((await authority.removeTool('positions')).tools, []);
    assert.deepEqual((await authority.disableSubject('a/b@c')).disabledSubjects, ['a/b@c']);
    assert.deepEqual((await authority.enableSubject('a/b@c')).disabledSubjects, []);
    assert.deepEqual((await authority.removeSecret('db')).secrets, []);
    assert.equal((await authority.diffPolicies('', { limit: 10 })).compared, 0);
    assert.deepEqual((await authority.replayDecisions()).items, []);
    assert.deepEqual(await client.decisions.list({ outcome: 'deny' }).all(), []);
    assert.deepEqual(await client.approvals.list({ state: 'pending' }).all(), []);
    await using session = await client.sessions.create({ grant: ['positions.*'] });
    assert.deepEqual(await session.approvals({ state: 'pending', limit: 5 }).all(), []);
    await assert.rejects(session.fork({ grant: ['payments.*'] }), { code: 'forbidden' });
    const none = { code: 'not_found' };
    const [decision, approval] = [makeId('decision'), makeId('approval')];
    await assert.rejects(client.decisions.get(decision), none);
    await assert.rejects(client.decisions.explain(decision), none);
    await assert.rejects(client.decisions.replay(decision), none);
    await assert.rejects(client.approvals.get(approval), none);
    await assert.rejects(client.approvals.approve(approval, { reason: 'yes' }), none);
    await assert.rejects(client.approvals.refuse(approval, 'no'), none);
  });

  it('administer tenants and keys; another tenant sees nothing', async () => {
    const client = clientOf();
    const tenant = await client.tenants.create({ name: 'sdk-test' });
    const keys = client.tenants.keys(tenant.id);
    const { secret, id } = await keys.create({ name: 'k', role: 'developer' });
    const theirs = new Bulkhead({ url: running().url, apiKey: secret });
    assert.equal((await theirs.caller()).tenant, tenant.id);
    await using session = await client.sessions.create();
    await assert.rejects(theirs.sessions.get(session.id), { code: 'not_found' });
    const refused = await theirs.tenants
      .list()
      .all()
      .catch((error: unknown) => error);
    assert.ok(BulkheadError.is(refused, 'forbidden'));
    assert.match(refused.requestId ?? '', /^req_/);
    assert.equal((await client.tenants.update(tenant.id, { retentionDays: 3 }, { ifVersion: 1 })).retentionDays, 3);
    await assert.rejects(client.tenants.update(tenant.id, {}, { ifVersion: 1 }), { code: 'precondition_failed' });
    await keys.revoke(id);
    await assert.rejects(theirs.caller(), { code: 'unauthenticated' });
    await client.tenants.delete(tenant.id);
    assert.ok((await client.limits()).languages.includes('python'));
    assert.ok((await client.runtimes()).length > 0);
    assert.equal((await client.health()).status, 'ok');
  });
});

interface CuttingProxy extends AsyncDisposable {
  readonly url: string;
  readonly cuts: number;
}

/** Passes connections on, and cuts each after so many bytes of answers. */
async function startCuttingProxy({ hostname, port }: URL, nextBytes: () => number): Promise<CuttingProxy> {
  let cuts = 0;
  const open = new Set<Socket>();
  const proxy = createServer((client) => {
    const server = connect(Number(port), hostname);
    let left = 4000 + nextBytes();
    for (const socket of [client, server]) {
      open.add(socket);
      socket.on('error', () => undefined).on('close', () => open.delete(socket));
    }
    client.on('close', () => server.destroy()).pipe(server);
    server.on('close', () => client.destroy());
    server.on('data', (chunk) => {
      client.write(chunk.subarray(0, Math.max(0, left)));
      left -= chunk.length;
      if (left > 0) return;
      cuts += 1;
      server.destroy();
    });
  });
  await new Promise<void>((resolve) => void proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    get cuts() {
      return cuts;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => void proxy.close(() => resolve()));
    },
  };
}
