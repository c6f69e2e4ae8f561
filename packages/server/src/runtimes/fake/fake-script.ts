// The language of the fake guest: enough of Python for examples (`x = 41`, `print(x + 1)`, an expression as the last line,
// `raise`), and verbs of its own, `fake.…`, for everything that a real guest may do to us.
//
//   fake.bytes("ff00")         raw bytes on stdout, in hexadecimal       fake.stderr("text")     text on stderr
//   fake.flood(n)              n bytes on stdout in chunks               fake.figure()           a result with a PNG
//   fake.display(n)            a result of n bytes                       fake.table()            a data frame
//   fake.drop(n)               the guest says that it dropped n bytes    sleep(seconds)          answers to an interrupt
//   fake.ignore_interrupt()    only a kill ends it                       fake.ignore_kill()      only destruction ends it
//   fake.swallow_interrupt()   waits for an interrupt, then goes on      fake.busy()             the agent refuses the turn
//   fake.crash() .violate() .silence()   the machine dies, breaks the protocol, stops answering
//   os._exit(n)                the interpreter ends                      while True: pass        answers to an interrupt

export type FakeValue = number | string | null;

export type FakeStatement =
  | { readonly kind: 'assign'; readonly name: string; readonly expression: string }
  | { readonly kind: 'print'; readonly stream: 'stdout' | 'stderr'; readonly expression: string }
  | { readonly kind: 'call'; readonly verb: string; readonly expression: string }
  | { readonly kind: 'raise'; readonly name: string; readonly expression: string }
  | { readonly kind: 'expression'; readonly expression: string }
  | { readonly kind: 'syntax-error' };

export class FakeException extends Error {
  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

const calls = /^(fake\.[a-z_]+|os\._exit|sleep|time\.sleep)\((.*)\)$/s;

export function parseScript(code: string): readonly FakeStatement[] {
  const statements: FakeStatement[] = [];
  let line = '';
  for (const raw of code.split('\n')) {
    line += raw.trim();
    if (isOpen(line)) continue;
    if (line !== '' && !line.startsWith('#') && !line.startsWith('import ')) statements.push(parseLine(line));
    line = '';
  }
  if (line !== '') statements.push({ kind: 'syntax-error' });
  return statements;
}

function isOpen(line: string): boolean {
  return line.split('(').length > line.split(')').length && !/["'#]/.test(line);
}

function parseLine(line: string): FakeStatement {
  if (line === 'while True: pass') return { kind: 'call', verb: 'fake.spin', expression: '' };
  const print = /^print\((.*)\)$/s.exec(line);
  if (print !== null) return { kind: 'print', stream: 'stdout', expression: print[1] ?? '' };
  const call = calls.exec(line);
  if (call !== null) return { kind: 'call', verb: call[1] ?? '', expression: call[2] ?? '' };
  const raise = /^raise ([A-Za-z]+)(?:\((.*)\))?$/s.exec(line);
  if (raise !== null) return { kind: 'raise', name: raise[1] ?? '', expression: raise[2] ?? '' };
  const assign = /^([A-Za-z_]\w*)\s*=(?!=)\s*(.+)$/s.exec(line);
  if (assign !== null) return { kind: 'assign', name: assign[1] ?? '', expression: assign[2] ?? '' };
  if (/[$?!]|\($/.test(line)) return { kind: 'syntax-error' };
  return { kind: 'expression', expression: line };
}

const token = /\s*(?:(\d+(?:\.\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([A-Za-z_]\w*)|([-+*/%()]))/y;

/** Numbers, strings, variables, `+ - * / %` and parentheses. Throws `FakeException` as Python would. */
export function evaluate(expression: string, variables: ReadonlyMap<string, FakeValue>): FakeValue {
  const tokens: string[] = [];
  token.lastIndex = 0;
  const text = expression.trim();
  if (text === '') return null;
  while (token.lastIndex < text.length) {
    const match = token.exec(text);
    if (match === null) throw new FakeException('SyntaxError', 'invalid syntax');
    tokens.push(match[0].trim());
  }
  let next = 0;
  const sum = (): FakeValue => {
    let left = product();
    while (tokens[next] === '+' || tokens[next] === '-') left = apply(tokens[next++] ?? '', left, product());
    return left;
  };
  const product = (): FakeValue => {
    let left = atom();
    while (['*', '/', '%'].includes(tokens[next] ?? '')) left = apply(tokens[next++] ?? '', left, atom());
    return left;
  };
  const atom = (): FakeValue => {
    const word = tokens[next++];
    if (word === undefined) throw new FakeException('SyntaxError', 'invalid syntax');
    if (word === '-') return apply('-', 0, atom());
    if (word === '(') {
      const inner = sum();
      next += 1;
      return inner;
    }
    if (/^\d/.test(word)) return Number(word);
    if (/^["']/.test(word)) return unquote(word);
    if (word === 'None') return null;
    const value = variables.get(word);
    if (value === undefined) throw new FakeException('NameError', `name '${word}' is not defined`);
    return value;
  };
  const value = sum();
  if (next < tokens.length) throw new FakeException('SyntaxError', 'invalid syntax');
  return value;
}

function apply(operator: string, left: FakeValue, right: FakeValue): FakeValue {
  if (operator === '+' && typeof left === 'string' && typeof right === 'string') return left + right;
  if (operator === '*' && typeof left === 'string' && typeof right === 'number') return left.repeat(right);
  if (typeof left !== 'number' || typeof right !== 'number') {
    throw new FakeException('TypeError', `unsupported operand types for ${operator}`);
  }
  if (right === 0 && (operator === '/' || operator === '%')) {
    throw new FakeException('ZeroDivisionError', 'division by zero');
  }
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
    default:
      return left % right;
  }
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', e: '\u001b', a: '\u0007' };

function unquote(word: string): string {
  return word
    .slice(1, -1)
    .replaceAll(/\\x([0-9a-f]{2})/gi, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)))
    .replaceAll(/\\(.)/gs, (_, letter: string) => escapes[letter] ?? letter);
}
