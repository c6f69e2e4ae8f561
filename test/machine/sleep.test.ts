// Sessions that sleep, wake, branch, go back and end: on real machines, with a real PostgreSQL, by seed.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type SessionId, type TenantId, makeId } from '@bulkhead/protocol';
import { type Bulkhead, type CreateSessionRequest, loadConfig, localTenant, openBulkhead } from '@bulkhead/server';
import { eventually, processesWith } from './support.ts';

const stateDir = mkdtempSync(join(tmpdir(), 'bulkhead-sleep-'));
const config = loadConfig({ ...process.env, BULKHEAD_STATE_DIR: stateDir });
const tenant = localTenant;
const cycles = 100;
const forks = 100;
const seed = 20_261_124;

let open: Bulkhead | undefined;
const bulkhead = (): Bulkhead => {
  assert.ok(open, 'Bulkhead is open during the tests');
  return open;
};

before(async () => {
  open = await openBulkhead(config, { keep: true });
  await open.runtime.prepare('small', { onProgress: (message) => console.error(message) });
});

after(async () => {
  await open?.[Symbol.asyncDispose]();
  rmSync(stateDir, { recursive: true });
});

async function restart(): Promise<void> {
  await bulkhead()[Symbol.asyncDispose]();
  open = await openBulkhead(config, { keep: true });
}

async function create(request: Omit<CreateSessionRequest, 'tenant'> = {}): Promise<SessionId> {
  return (await bulkhead().sessions.createSession({ tenant, ...request })).id;
}

async function output(id: SessionId, code: string): Promise<string> {
  const result = await (await bulkhead().sessions.takeTurn(tenant, id, { code })).result;
  assert.equal(result.status, 'ok', result.exception?.traceback ?? JSON.stringify(result.error));
  return result.stdout.trimEnd();
}

const prelude = `
import hashlib, json, os, random, subprocess, time
state, chance = {}, random.Random(SEED)
child = subprocess.Popen(["python3", "-c", "import time\\nwhile True: time.sleep(0.05)"])
def change():
    for _ in range(chance.randrange(1, 6)):
        state[chance.randrange(40)] = chance.randbytes(chance.randrange(1, 60_000))
        name = f"file-{chance.randrange(20)}"
        with open(name, "r+b" if os.path.exists(name) else "wb") as file:
            file.seek(chance.randrange(50_000))
            file.write(chance.randbytes(chance.randrange(1, 30_000)))
    if chance.random() < 0.2 and os.path.exists("file-3"): os.remove("file-3")
def digest():
    hash = hashlib.sha256()
    for key in sorted(state): hash.update(str(key).encode() + state[key])
    for name in sorted(os.listdir(".")):
        if name.startswith("file-"): hash.update(name.encode() + open(name, "rb").read())
    hash.update(f"{child.pid} {child.poll()} {open(f'/proc/{child.pid}/comm').read()}".encode())
    return hash.hexdigest()
def show():
    found = digest()
    now = time.time()
    change()
    print(json.dumps([found, now, digest()]))
`;

test(`${cycles} cycles of sleep at random moments change nothing, and the clock is right`, async (context) => {
  const id = await create();
  await output(id, prelude.replace('SEED', String(seed)));
  let expected = JSON.parse(await output(id, 'show()'))[2];
  let worstSkewMs = 0;
  for (let cycle = 0; cycle < cycles; cycle++) {
    await bulkhead().sessions.suspendSession(tenant, id);
    await bulkhead().sessions.resumeSession(tenant, id);
    const askedAt = Date.now();
    const [found, now, next] = JSON.parse(await output(id, 'show()')) as [string, number, string];
    assert.equal(found, expected, `seed ${seed}, cycle ${cycle}`);
    const skewMs = Math.max(askedAt - now * 1000, now * 1000 - Date.now(), 0);
    worstSkewMs = Math.max(worstSkewMs, skewMs);
    expected = next;
  }
  context.diagnostic(`worst clock skew: ${worstSkewMs.toFixed(1)} ms`);
  assert.ok(worstSkewMs < 100, `the clock is off by ${worstSkewMs} ms`);
  assert.equal(bulkhead().sessions.getSession(tenant, id).turnCount, cycles + 2);
  await bulkhead().sessions.terminateSession(tenant, id);
});

test('a session sleeps through a restart of the server, and a checkpoint with it', async () => {
  const id = await create();
  await output(
    id,
    'import subprocess; x = 7; open("f", "w").write("kept"); p = subprocess.Popen(["sleep", "1000"]); print(x)',
  );
  await bulkhead().sessions.checkpointSession(tenant, id, 'seven');
  await output(id, 'x = 8; print(x)');
  await restart();
  assert.equal(bulkhead().sessions.getSession(tenant, id).state, 'suspended');
  assert.equal(await output(id, 'print(x, open("f").read(), p.poll())'), '8 kept None');
  await bulkhead().sessions.restoreCheckpoint(tenant, id, 'seven');
  assert.equal(await output(id, 'print(x, p.poll())'), '7 None');
  await bulkhead().sessions.deleteCheckpoint(tenant, id, 'seven');
  assert.deepEqual(await bulkhead().sessions.listCheckpoints(tenant, id), []);
  await bulkhead().sessions.terminateSession(tenant, id);
});

test('after kill -9 of the server what slept wakes, what ran is told to be lost, and nothing is left', async () => {
  await bulkhead()[Symbol.asyncDispose]();
  const code = `
    import { openBulkhead, loadConfig } from '@bulkhead/server';
    const { sessions } = await openBulkhead(loadConfig(), { keep: true });
    const tenant = ${JSON.stringify(tenant)};
    const [asleep, awake] = [await sessions.createSession({ tenant }), await sessions.createSession({ tenant })];
    await asleep.startTurn({ code: 'x = 5; open("f", "w").write("kept")' }).result;
    const acknowledged = (await awake.startTurn({ code: 'print("acknowledged")' }).result).stdout;
    await sessions.suspendSession(tenant, asleep.id);
    console.log(JSON.stringify({ asleep: asleep.id, awake: awake.id, acknowledged }));
    awake.startTurn({ code: 'while True: pass' });
  `;
  const server = spawn(
    process.execPath,
    ['--conditions=bulkhead-source', '--input-type=module-typescript', '-e', code],
    {
      cwd: join(import.meta.dirname, '..', '..', 'packages', 'cli'),
      env: { ...process.env, BULKHEAD_STATE_DIR: stateDir },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const [line] = (await Promise.race([
    once(server.stdout.setEncoding('utf8'), 'data'),
    once(server, 'exit').then(([status]) => assert.fail(`the server ended with ${status}`)),
  ])) as [string];
  const { asleep, awake } = JSON.parse(line) as { asleep: SessionId; awake: SessionId };
  await new Promise((resolve) => setTimeout(resolve, 200));
  server.kill('SIGKILL');
  await once(server, 'exit');
  await eventually('no machine of the dead server runs', () => processesWith(`:${server.pid}-`).length === 0);
  open = await openBulkhead(config, { keep: true });
  const { sessions, keeping } = bulkhead();
  const lost = sessions.getSession(tenant, awake);
  assert.deepEqual([lost.state, lost.error?.code], ['failed', 'machine_lost']);
  assert.ok(keeping);
  const { items } = await keeping.turns.list(tenant, awake);
  const results = await Promise.all(items.map(async ({ id }) => (await keeping.turns.get(tenant, awake, id)).result));
  const codes = results.map((result) => result?.error?.code ?? 'ok');
  assert.deepEqual(codes, ['ok', 'machine_lost'], 'what was acknowledged is there, what ran has an end');
  assert.match(results[0]?.stdout ?? '', /acknowledged/);
  assert.equal(await output(asleep, 'print(x, open("f").read())'), '5 kept');
  assert.deepEqual(readdirSync(join(stateDir, 'keys')), [`${asleep}.key`]);
  await sessions.terminateSession(tenant, asleep);
});

test(`${forks} forks answer, and share nothing that has to differ`, async (context) => {
  const id = await create();
  await output(id, 'import os, random, uuid, socket, numpy; x = list(range(1000))');
  const started = performance.now();
  const children = await bulkhead().sessions.forkSession(tenant, id, forks);
  const perForkMs = (performance.now() - started) / forks;
  const code = `print(x[-1], os.urandom(4096).hex(), uuid.uuid4(), random.random(), numpy.random.random(), socket.gethostname(), open("/etc/machine-id").read().strip())`;
  for (const child of children) assert.equal(child.parent, id);
  const asked = [...children.map((child) => child.id), id];
  const seen: string[][] = [];
  const lane = async (): Promise<void> => {
    for (let next = asked.pop(); next !== undefined; next = asked.pop())
      seen.push((await output(next, code)).split(' '));
  };
  await Promise.all([lane(), lane()]);
  assert.equal(seen.length, forks + 1);
  const memory = readFileSync('/proc/meminfo', 'utf8');
  context.diagnostic(`${perForkMs.toFixed(0)} ms a fork; ${/MemAvailable:.*/.exec(memory)?.[0]}`);
  for (const [column, name] of ['x', 'urandom', 'uuid4', 'random', 'numpy', 'hostname', 'machine-id'].entries()) {
    const values = new Set(seen.map((row) => row[column]));
    assert.equal(values.size, column === 0 ? 1 : forks + 1, name);
  }
  await Promise.all(
    [...children.map((child) => child.id), id].map((each) => bulkhead().sessions.terminateSession(tenant, each)),
  );
});

test('a changed, cut or exchanged snapshot is refused, and the session can be resumed when it is put back', async () => {
  const [one, two] = [await create(), await create()];
  const pathOf = async (id: SessionId): Promise<string> => {
    const { snapshot } = await bulkhead().sessions.suspendSession(tenant, id);
    return join(stateDir, 'snapshots', id, snapshot ?? '');
  };
  const [path, other] = [await pathOf(one), await pathOf(two)];
  const whole = readFileSync(path);
  const flipped = Buffer.from(whole);
  flipped[Math.floor(whole.length * 0.6)]! ^= 1;
  for (const bad of [flipped, whole.subarray(0, -1), readFileSync(other), Buffer.alloc(0)]) {
    writeFileSync(path, bad);
    await assert.rejects(bulkhead().sessions.resumeSession(tenant, one), { code: 'snapshot_invalid' });
    assert.equal(bulkhead().sessions.getSession(tenant, one).state, 'suspended');
  }
  writeFileSync(path, whole);
  assert.equal(await output(one, 'print(1)'), '1');
  // What was slept in once is not slept in again.
  await eventually('the snapshot that was used is gone', () => statSync(path, { throwIfNoEntry: false }) === undefined);
  for (const id of [one, two]) await bulkhead().sessions.terminateSession(tenant, id);
  assert.deepEqual(readdirSync(join(stateDir, 'keys')), []);
});

test('an idle session is suspended within 2 s of its deadline, whatever the guest does; one in a turn is not', async () => {
  const idleMs = 3000;
  const timeLimits = { idleMs };
  const [idle, busy] = [await create({ timeLimits }), await create({ timeLimits })];
  await output(
    idle,
    'import subprocess; p = subprocess.Popen(["bash", "-c", "while true; do echo x; date > f; done"], stdout=subprocess.DEVNULL)',
  );
  const since = Date.now();
  const long = await bulkhead().sessions.takeTurn(tenant, busy, { code: 'import time; time.sleep(8); print("done")' });
  const state = (id: SessionId): string => bulkhead().sessions.getSession(tenant, id).state;
  await eventually('the idle one sleeps', () => state(idle) === 'suspended', idleMs + 2000);
  assert.ok(Date.now() - since >= idleMs - 100, 'not before its deadline');
  assert.equal(state(busy), 'busy');
  assert.equal((await long.result).stdout, 'done\n');
  for (const id of [idle, busy]) await bulkhead().sessions.terminateSession(tenant, id);
});

test('each conflict has one winner and a typed answer', async () => {
  const { sessions } = bulkhead();
  const id = await create();
  const long = await sessions.takeTurn(tenant, id, { code: 'import time; time.sleep(1); print("whole")' });
  await assert.rejects(sessions.suspendSession(tenant, id), { code: 'state_conflict' });
  await assert.rejects(sessions.forkSession(tenant, id, 1), { code: 'state_conflict' });
  assert.equal((await long.result).stdout, 'whole\n');
  const both = await Promise.all([sessions.suspendSession(tenant, id), sessions.suspendSession(tenant, id)]);
  assert.equal(new Set(both.map(({ snapshot }) => snapshot)).size, 1);
  const woken = await Promise.all([sessions.resumeSession(tenant, id), sessions.resumeSession(tenant, id)]);
  assert.equal(new Set(woken.map(({ machine }) => machine)).size, 1);
  const suspending = sessions.suspendSession(tenant, id);
  const outcome = await Promise.allSettled([suspending, sessions.terminateSession(tenant, id)]);
  assert.equal(outcome[1].status, 'fulfilled');
  assert.equal(sessions.getSession(tenant, id).state, 'terminated');
  const other: TenantId = makeId('tenant');
  await assert.rejects(sessions.resumeSession(other, id), { code: 'not_found' });
  await assert.rejects(openBulkhead(config, { keep: true }), { code: 'data_dir_busy' });
});
