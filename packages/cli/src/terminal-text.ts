// What a guest says, made fit for a terminal. A terminal obeys what it is shown: it moves the cursor, sets the clipboard,
// answers questions, turns text around. Newlines, tabs and text pass; colour and cursor sequences are left out; every other
// control character is shown as a picture of itself. Works on chunks: a sequence may be cut anywhere.

const csiMaxLength = 64;
const pictures = 0x2400;

export class TerminalText {
  /** A sequence, or a carriage return, whose rest has not come yet. */
  #held = '';

  clean(text: string): string {
    const input = this.#held + text;
    this.#held = '';
    let output = '';
    let at = 0;
    while (at < input.length) {
      const unit = input.charCodeAt(at);
      if (unit === 0x1b) {
        const sequence = controlSequenceLength(input, at);
        if (sequence === 'unfinished') {
          this.#held = input.slice(at);
          return output;
        }
        if (sequence === 0) output += picture(unit);
        at += Math.max(1, sequence);
      } else if (unit === 0x0d) {
        if (at + 1 === input.length) {
          this.#held = '\r';
          return output;
        }
        // A lone return would write over the line.
        if (input.charCodeAt(at + 1) !== 0x0a) output += picture(unit);
        at += 1;
      } else {
        output += isHarmless(unit) ? input.charAt(at) : picture(unit);
        at += 1;
      }
    }
    return output;
  }

  /** What was held back when nothing follows it. */
  end(): string {
    const held = this.#held;
    this.#held = '';
    return held.replaceAll(/[^]/g, (unit) => (isHarmless(unit.charCodeAt(0)) ? unit : picture(unit.charCodeAt(0))));
  }
}

/** A whole text at once. */
export function terminalText(text: string): string {
  const cleaner = new TerminalText();
  return cleaner.clean(text) + cleaner.end();
}

/** The length of the control sequence (ESC [ … letter) at `at`, 0 when there is none. */
function controlSequenceLength(text: string, at: number): number | 'unfinished' {
  if (at + 1 === text.length) return 'unfinished';
  if (text.charAt(at + 1) !== '[') return 0;
  for (let end = at + 2; end < at + csiMaxLength; end += 1) {
    if (end === text.length) return 'unfinished';
    const unit = text.charCodeAt(end);
    if (unit >= 0x40 && unit <= 0x7e) return end + 1 - at;
    if (unit < 0x20 || unit > 0x3f) return 0;
  }
  return 0;
}

function isHarmless(unit: number): boolean {
  if (unit === 0x0a || unit === 0x09) return true;
  if (unit < 0x20 || (unit >= 0x7f && unit <= 0x9f)) return false;
  // Characters that turn the direction of text, separate lines, or annotate.
  if (unit === 0x061c || unit === 0x200e || unit === 0x200f) return false;
  return !(
    (unit >= 0x2028 && unit <= 0x202e) ||
    (unit >= 0x2066 && unit <= 0x2069) ||
    (unit >= 0xfff9 && unit <= 0xfffb)
  );
}

function picture(unit: number): string {
  if (unit < 0x20) return String.fromCharCode(pictures + unit);
  if (unit === 0x7f) return '\u2421';
  return `<U+${unit.toString(16).toUpperCase().padStart(4, '0')}>`;
}
