import { type HostReport, openDoctor } from '@bulkhead/server';
import type { CommandContext, CommandInput } from '../command.ts';
import { configure } from '../local-session.ts';
import { jsonLine } from '../output.ts';
import { terminalText } from '../terminal-text.ts';

const symbols = { ok: ['green', '✓'], warn: ['yellow', '!'], fail: ['red', '✗'] } as const;

export async function doctor(context: CommandContext, input: CommandInput): Promise<number> {
  const examiner = await openDoctor(configure(context));
  const report = await examiner.examine({ signal: context.interrupts.ended });
  if (input.flag('json')) await context.stdout.write(jsonLine(report));
  else await context.stdout.write(formatReport(context, report));
  return report.checks.some(({ status }) => status === 'fail') ? 1 : 0;
}

function formatReport({ stdout }: CommandContext, report: HostReport): string {
  const width = Math.max(...report.checks.map(({ name }) => name.length));
  const lines = report.checks.flatMap(({ name, status, detail, fix }) => {
    const [style, symbol] = symbols[status];
    const line = `${stdout.style(style, symbol)} ${name.padEnd(width)}  ${terminalText(detail)}`;
    return fix === undefined ? [line] : [line, stdout.style('dim', `  ${' '.repeat(width)}  → ${terminalText(fix)}`)];
  });
  const verdict = {
    ok: 'Sessions can run here.',
    warn: 'Sessions can run here; the lines with ! say what could be better.',
    fail: 'Sessions cannot run here until the lines with ✗ are changed.',
  }[report.status];
  return `${lines.join('\n')}\n\nTier: ${stdout.style('bold', report.tier)}. ${report.tierMeaning}\n${verdict}\n`;
}
