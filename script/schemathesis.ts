// `script/schemathesis`: the long run, for people and for releases. The usual tests have a short one.

import { parseArgs } from 'node:util';
import { runSchemathesis } from './schemathesis-run.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '5000' },
    seconds: { type: 'string', default: '900' },
    seed: { type: 'string', default: '1' },
  },
});
const { problems, report, summary } = await runSchemathesis({
  requests: Number(values.requests),
  seconds: Number(values.seconds),
  seed: Number(values.seed),
});
process.stdout.write(`${report}\n${summary}\n`);
for (const problem of problems) process.stdout.write(`${problem}\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
