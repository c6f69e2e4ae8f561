// What a tenant has set up for its sessions: tools, secrets, policies. It has one version; a call of a tool looks at that version first, so that what was
// changed before the call counts for it, on every server. What is opened is kept for as long as its version is the newest.

import {
  BulkheadError,
  type SessionId,
  type TenantId,
  type ToolSettings,
  limits,
  toolSettingsSchema,
} from '@bulkhead/protocol';
import { writeCedarSchema } from '../authority/cedar-schema.ts';
import { SecretReferences, type SecretReferencesOptions } from '../authority/credentials/secret-reference.ts';
import { type PolicySet, type PolicySetCheck, checkPolicies, readPolicySet } from '../authority/policy-set.ts';
import type { Clock } from '../lib/clock.ts';
import type { Resolve } from '../lib/network-addresses.ts';
import type { KeyEncryption } from '../snapshots/key-encryption.ts';
import type { AuthorityRows, AuthorityStore, SecretRow } from '../store/authority-store.ts';
import { LazyTool } from './lazy-tool.ts';
import { openSecret, sealSecret } from './secret-box.ts';
import type { Tool, ToolSurroundings } from './tool.ts';
import { completeSettings, describeTool, openTool } from './tool-kinds.ts';

export interface TenantAuthorityOptions {
  readonly store: AuthorityStore;
  readonly encryption: KeyEncryption;
  readonly clock: Clock;
  /** Of Secrets Manager, where it is not what AWS's own settings say. */
  readonly secretsManager?: SecretReferencesOptions['client'];
  /** How tools find the addresses of names; the system's way unless said. */
  readonly resolve?: Resolve | undefined;
}

interface Opened {
  readonly version: number;
  readonly tenantName: string;
  readonly tools: ReadonlyMap<string, Tool>;
  readonly policies: PolicySet;
  readonly disabledSubjects: ReadonlySet<string>;
}

export interface ToolFacts {
  readonly name: string;
  readonly settings: ToolSettings;
}

export interface AuthorityFacts {
  readonly version: number;
  readonly policies: string;
  readonly tools: readonly ToolFacts[];
  readonly secrets: readonly { readonly name: string; readonly changedAtUnixMs: number }[];
  readonly disabledSubjects: readonly string[];
}

export class TenantAuthority implements AsyncDisposable {
  readonly #options: TenantAuthorityOptions;
  readonly #opened = new Map<TenantId, Promise<Opened>>();
  readonly #references: SecretReferences;

  constructor(options: TenantAuthorityOptions) {
    const { clock, secretsManager } = options;
    this.#options = options;
    this.#references = new SecretReferences({
      clock,
      ...(secretsManager === undefined ? {} : { client: secretsManager }),
    });
  }

  /** As it is now; its tools are opened when they are called. Errors: `store_unavailable`, `not_found`. */
  async of(tenant: TenantId): Promise<Omit<Opened, 'version'>> {
    const version = await this.#options.store.version(tenant);
    const known = this.#opened.get(tenant);
    const found = known === undefined ? undefined : await known.catch(() => undefined);
    if (found?.version === version) return found;
    const opening = this.#open(tenant);
    this.#opened.set(tenant, opening);
    opening.catch(() => {
      if (this.#opened.get(tenant) === opening) this.#opened.delete(tenant);
    });
    if (found !== undefined) await close(found);
    return await opening;
  }

  async #open(tenant: TenantId): Promise<Opened> {
    const rows = await this.#options.store.read(tenant);
    const { clock } = this.#options;
    const tools = readTools(rows).map(async ({ name, settings }): Promise<readonly [string, Tool]> => {
      const open = (): Promise<Tool> => this.#openTool(tenant, name, settings, rows);
      const lazy = new LazyTool({ name, settings, clock, open });
      // A rule has nobody at its other end, and is one only if it opens.
      return [name, settings.kind === 'egress' ? await open().catch(() => lazy) : lazy];
    });
    return {
      version: rows.version,
      tenantName: rows.tenantName,
      tools: new Map(await Promise.all(tools)),
      policies: readPolicySet(rows.policies, schemaOf(rows)),
      disabledSubjects: new Set(rows.disabledSubjects),
    };
  }

  async #openTool(tenant: TenantId, name: string, settings: ToolSettings, rows: AuthorityRows): Promise<Tool> {
    return await openTool(name, settings, this.#surroundings(tenant, name, rows));
  }

  #surroundings(tenant: TenantId, name: string, { secrets }: AuthorityRows): ToolSurroundings {
    const secret = async (wanted: string): Promise<string> => {
      const row = secrets.find((candidate) => candidate.name === wanted);
      if (row !== undefined) {
        return await this.#references.resolve(await openSecret(this.#options.encryption, tenant, wanted, row));
      }
      throw new BulkheadError('state_conflict', `The tool ${name} names the secret ${wanted}, which is not there.`, {
        hint: 'Set the secret first.',
      });
    };
    return { secret, resolve: this.#options.resolve };
  }

  /** The session has ended, or sleeps: tools drop what they made for it alone. */
  forget(tenant: TenantId, session: SessionId): void {
    const dropAll = ({ tools }: Opened): void => {
      for (const tool of tools.values()) tool.forget?.(session);
    };
    void this.#opened.get(tenant)?.then(dropAll, () => undefined);
  }

  /** Errors: `not_found`. */
  async facts(tenant: TenantId): Promise<AuthorityFacts> {
    return this.#told(await this.#options.store.read(tenant));
  }

  /**
   * Sets a tool up, or takes it away. It is opened first, so that one that does not work is not kept. Errors: `not_found`, `precondition_failed`,
   * `state_conflict` when a policy would name an operation that is not there any more, those of `openTool`.
   */
  async putTool(tenant: TenantId, name: string, sent: ToolSettings | null, version?: number): Promise<AuthorityFacts> {
    const settings = sent === null ? null : await this.#tryTool(tenant, name, sent);
    const after = await this.#options.store.change(tenant, version, { tool: { name, settings } }, (rows) => {
      if (rows.tools.length > limits.toolsMaxCount) {
        throw new BulkheadError('limit_exceeded', `A tenant has at most ${limits.toolsMaxCount} tools.`);
      }
      const { problems } = checkPolicies(rows.policies, schemaOf(rows));
      if (problems.length === 0) return;
      throw new BulkheadError('state_conflict', 'The policies name what the tool would not have any more.', {
        hint: 'Change the policies first.',
        details: { problems },
      });
    });
    return this.#told(after);
  }

  /** The settings as they are kept, once a tool has opened with them. */
  async #tryTool(tenant: TenantId, name: string, sent: ToolSettings): Promise<ToolSettings> {
    const rows = await this.#options.store.read(tenant);
    const settings = await completeSettings(sent, this.#surroundings(tenant, name, rows));
    await using _tool = await this.#openTool(tenant, name, settings, rows);
    return settings;
  }

  /** Null takes it away. Errors: `not_found`, `precondition_failed`, `key_unavailable`. */
  async putSecret(tenant: TenantId, name: string, value: string | null, version?: number): Promise<AuthorityFacts> {
    if (value !== null && value.length > limits.secretMaxLength) {
      throw new BulkheadError('limit_exceeded', `A secret has at most ${limits.secretMaxLength} characters.`);
    }
    const { encryption, clock } = this.#options;
    const sealed =
      value === null
        ? null
        : { ...(await sealSecret(encryption, tenant, name, value)), changedAtUnixMs: clock.unixMs() };
    return this.#told(
      await this.#options.store.change(tenant, version, { secret: { name, value: sealed } }, ({ secrets }) => {
        if (secrets.length > limits.secretsMaxCount) {
          throw new BulkheadError('limit_exceeded', `A tenant has at most ${limits.secretsMaxCount} secrets.`);
        }
      }),
    );
  }

  /** Errors: `invalid_request` with every problem, `not_found`, `precondition_failed`. */
  async putPolicies(tenant: TenantId, policies: string, version?: number): Promise<AuthorityFacts> {
    return this.#told(
      await this.#options.store.change(tenant, version, { policies }, (rows) => {
        readPolicySet(rows.policies, schemaOf(rows));
      }),
    );
  }

  /** From the next call of a tool on, in each of its sessions; its keys and tokens, within two seconds. Errors: `not_found`, `precondition_failed`. */
  async setSubjectDisabled(
    tenant: TenantId,
    name: string,
    disabled: boolean,
    version?: number,
  ): Promise<AuthorityFacts> {
    return this.#told(
      await this.#options.store.change(tenant, version, { subject: { name, disabled } }, ({ disabledSubjects }) => {
        if (disabledSubjects.length > limits.disabledSubjectsMaxCount) {
          throw new BulkheadError(
            'limit_exceeded',
            `A tenant has at most ${limits.disabledSubjectsMaxCount} disabled subjects.`,
          );
        }
      }),
    );
  }

  /** As they would be if they were set. Errors: `invalid_request` with every problem, `not_found`. */
  async readPolicies(tenant: TenantId, policies: string): Promise<PolicySet> {
    return readPolicySet(policies, schemaOf(await this.#options.store.read(tenant)));
  }

  /** What is wrong with policies, without setting them. Errors: `not_found`. */
  async checkPolicies(tenant: TenantId, policies: string): Promise<PolicySetCheck> {
    return checkPolicies(policies, schemaOf(await this.#options.store.read(tenant)));
  }

  #told(rows: AuthorityRows): AuthorityFacts {
    const secrets = rows.secrets.map(({ name, changedAtUnixMs }: SecretRow) => ({ name, changedAtUnixMs }));
    const { version, policies, disabledSubjects } = rows;
    return { version, policies, tools: readTools(rows), secrets, disabledSubjects };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = [...this.#opened.values()];
    this.#opened.clear();
    for (const each of opened) await each.then(close, () => undefined);
  }
}

async function close({ tools }: Opened): Promise<void> {
  await Promise.all([...tools.values()].map((tool) => tool[Symbol.asyncDispose]()));
}

/** The store keeps what was checked when it was set; what an older version kept is checked again. */
function readTools({ tools }: AuthorityRows): readonly ToolFacts[] {
  return tools.map(({ name, settings }) => ({ name, settings: toolSettingsSchema.parse(settings) }));
}

function schemaOf(rows: AuthorityRows): string {
  return writeCedarSchema(readTools(rows).map(({ name, settings }) => describeTool(name, settings)));
}
