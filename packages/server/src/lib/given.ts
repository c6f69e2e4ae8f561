/** Members that may be undefined, as members that may be missing. */
export type Given<T> = { readonly [Key in keyof T]?: Exclude<T[Key], undefined> };

/** Without the members that are undefined. */
export function given<T extends object>(members: T): Given<T> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is left is not undefined
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Given<T>;
}
