/** Text from a stranger made fit for a log line or a terminal: no control, format or unpaired characters, and not long. */
export function printable(text: string, maxLength: number): string {
  const cleaned = text
    .slice(0, maxLength * 2)
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();
  return cleaned.length > maxLength ? `${cleaned.slice(0, maxLength - 1)}…` : cleaned;
}
