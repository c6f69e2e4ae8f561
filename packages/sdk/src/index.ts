export { Bulkhead, type Caller, type Limits, type RuntimeResource, type TemplateResource } from './bulkhead.ts';
export type {
  BulkheadOptions,
  CallOptions,
  CreateOptions,
  ListOptions,
  TokenProvider,
  VersionedOptions,
  Wait,
} from './options.ts';
export type { RetryPolicy } from './retry.ts';
export { type ContextState, OwnedSession, type RunOptions, Session } from './session.ts';
export { type SessionFilter, type SessionRequest, Sessions } from './sessions.ts';
export { RunResult, type ResultImage, type ResultTable } from './run-result.ts';
export { TurnStream } from './turn-stream.ts';
export { type Content, chunksOf } from './content.ts';
export { type FileList, type FileStat, type FileWritten, Files, type WriteFileOptions } from './files.ts';
export {
  type CommandLine,
  Commands,
  Process,
  type ProcessState,
  type RunCommandOptions,
  type StartProcessOptions,
} from './commands.ts';
export { Terminal, type TerminalExit, type TerminalRequest } from './terminal.ts';
export { type ExposedPort, type PortResource, Ports } from './ports.ts';
export { Checkpoints } from './checkpoints.ts';
export { Keys, type KeyRequest, type TenantRequest, type TenantUpdate, Tenants } from './tenants.ts';
export { Authority, type RecordedOptions, type ToolSettingsRequest } from './authority.ts';
export { type DecisionFilter, Decisions } from './decisions.ts';
export { type ApprovalFilter, Approvals } from './approvals.ts';
export { type Page, Pages } from './pages.ts';
export {
  type ApprovalDetail,
  type ApprovalResource,
  type ApprovalState,
  type AuthorityResource,
  BulkheadError,
  type CheckpointResource,
  type CommandEvent,
  type CommandResult,
  type DecisionChangesPage,
  type DecisionExplanation,
  type DecisionReplay,
  type DecisionResource,
  type ErrorCode,
  type IssuedKey,
  type KeyResource,
  type Language,
  type PolicyCheck,
  type SessionId,
  type SessionResource,
  type SessionState,
  type SizeName,
  type TenantResource,
  type TurnEvent,
  type TurnId,
  type TurnResource,
  type TurnResult,
} from '@bulkhead/protocol';
