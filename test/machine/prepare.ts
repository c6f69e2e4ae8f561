// Makes the image and the template that the tests on machines need. For script/run-tests.ts.

import { loadConfig, openBulkhead } from '@bulkhead/server';

await using bulkhead = await openBulkhead(loadConfig());
await bulkhead.runtime.prepare('small', { onProgress: (message) => console.error(message) });
