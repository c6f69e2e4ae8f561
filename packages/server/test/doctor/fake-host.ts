import type { CommandResult, HostAccess } from '../../src/doctor/host-access.ts';

export interface FakeHostParts {
  readonly uid?: number;
  /** Files by path. */
  readonly files?: Readonly<Record<string, string>>;
  /** What a program answers, by its name; others are missing. */
  readonly programs?: Readonly<Record<string, Partial<CommandResult>>>;
  /** Folders in which folders can be made, and the files that appear in those, as control group file systems do it. */
  readonly makers?: Readonly<Record<string, readonly string[]>>;
  /** Error codes of opening a file for writing; others open. */
  readonly openErrors?: Readonly<Record<string, string>>;
  readonly freeBytes?: number;
}

export interface FakeHost extends HostAccess {
  readonly commands: readonly (readonly string[])[];
  /** The folders that were made and not removed. */
  readonly folders: ReadonlySet<string>;
}

const answered: CommandResult = { problem: null, exitCode: 0, stdout: '', stderr: '' };
const missing: CommandResult = { problem: 'missing', exitCode: null, stdout: '', stderr: '' };

const parentOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf('/')));

/** A host that is what a test says it is. */
export function fakeHost(parts: FakeHostParts = {}): FakeHost {
  const commands: (readonly string[])[] = [];
  const folders = new Set<string>();
  return {
    uid: parts.uid ?? 1000,
    commands,
    folders,
    readText: async (path) => parts.files?.[path],
    listNames: async (path) =>
      Object.keys(parts.files ?? {}).flatMap((file) =>
        file.startsWith(`${path}/`) ? [file.slice(path.length + 1)] : [],
      ),
    exists: async (path) => {
      const folder = parentOf(path);
      return folders.has(folder) && (parts.makers?.[parentOf(folder)] ?? []).includes(path.slice(folder.length + 1));
    },
    tryOpen: async (path) => parts.openErrors?.[path],
    makeFolder: async (path) => {
      if (parts.makers?.[parentOf(path)] === undefined) return 'EACCES';
      folders.add(path);
      return undefined;
    },
    removeFolder: async (path) => {
      folders.delete(path);
    },
    freeBytes: async () => parts.freeBytes ?? 2 ** 40,
    run: async (argv) => {
      commands.push(argv);
      const answer = parts.programs?.[argv[0]];
      return answer === undefined ? missing : { ...answered, ...answer };
    },
  };
}
