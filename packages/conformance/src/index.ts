export type { CaseContext, ContractCase, Subject } from './contract-case.ts';
export { type CaseResult, contractCases, contractTable, openSubject, runCase } from './run-contract.ts';
