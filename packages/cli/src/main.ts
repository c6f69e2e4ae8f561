#!/usr/bin/env node
import { enableCompileCache, registerHooks } from 'node:module';

enableCompileCache();
// zod has its messages in some sixty languages, a file each. Finding and loading them takes a third of what every command loads, and
// only English is ever asked for.
registerHooks({
  resolve(specifier, context, next) {
    const unwanted = specifier === '../locales/index.js' && context.parentURL?.includes('/node_modules/zod/') === true;
    return unwanted ? { url: 'data:text/javascript,', format: 'module', shortCircuit: true } : next(specifier, context);
  },
});
const { runProcess } = await import('./process.ts');
await runProcess();
