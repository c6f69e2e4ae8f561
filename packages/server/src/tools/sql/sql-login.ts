import { BulkheadError } from '@bulkhead/protocol';
import type { Client } from 'pg';

interface LoginRow {
  readonly is_super: boolean;
  readonly bypasses: boolean;
  readonly creates_roles: boolean;
  readonly creates_databases: boolean;
  readonly replicates: boolean;
  readonly member_of: readonly string[];
  readonly owns: readonly string[];
  readonly unguarded: readonly string[];
  readonly defines: readonly string[];
}

/**
 * What makes row-level security worth nothing, asked of the server itself: a login that is above it, that can become another role, or that owns tables it
 * could take it off from; a table that it can reach and that has none, or whose owner is not bound; functions that run with another's rights.
 */
const question = `
SELECT r.rolsuper AS is_super, r.rolbypassrls AS bypasses, r.rolcreaterole AS creates_roles, r.rolcreatedb AS creates_databases,
  r.rolreplication AS replicates,
  ARRAY(SELECT m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid ORDER BY 1) AS member_of,
  ARRAY(SELECT c.oid::regclass::text FROM pg_class c WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY 1) AS owns,
  ARRAY(
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname NOT LIKE 'pg\\_toast%' AND has_schema_privilege(n.oid, 'USAGE')
      AND (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE') OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE'))
    ORDER BY 1
  ) AS unguarded,
  ARRAY(
    SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
    ORDER BY 1
  ) AS defines
FROM pg_roles r WHERE r.rolname = session_user AND session_user = current_user`;

/** Errors: `invalid_request` with everything that is wrong with the login; `tool_failed`. */
export async function checkLogin(client: Client): Promise<void> {
  let row: LoginRow | undefined;
  try {
    ({
      rows: [row],
    } = await client.query<LoginRow>(question));
  } catch (error) {
    throw new BulkheadError('tool_failed', 'The database does not say what its login may do.', { cause: error });
  }
  const problems = row === undefined ? ['it is not the role that it works as'] : findProblems(row);
  if (problems.length === 0) return;
  throw new BulkheadError(
    'invalid_request',
    `The login of the database could do more than its tenant may: ${problems.join('; ')}.`,
    {
      hint: 'Give each tenant a login of its own that owns nothing and belongs to no other role, on tables with row-level security.',
      details: { problems },
    },
  );
}

const flags = [
  ['is_super', 'it is a superuser'],
  ['bypasses', 'it bypasses row-level security'],
  ['creates_roles', 'it can create roles'],
  ['creates_databases', 'it can create databases'],
  ['replicates', 'it can replicate'],
] as const;
const lists = [
  ['member_of', 'it is a member of'],
  ['owns', 'it owns'],
  ['unguarded', 'there is no row-level security on'],
  ['defines', 'it can call functions that have their owner’s rights:'],
] as const;
/** Of each list. */
const namesMaxCount = 10;

function findProblems(row: LoginRow): readonly string[] {
  const raised = flags.filter(([flag]) => row[flag]).map(([, problem]) => problem);
  const named = lists
    .filter(([list]) => row[list].length > 0)
    .map(([list, problem]) => `${problem} ${row[list].slice(0, namesMaxCount).join(', ')}`);
  return [...raised, ...named];
}
