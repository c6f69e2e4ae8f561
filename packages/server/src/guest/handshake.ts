// How a machine is given an identity and proves that it took it.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { BulkheadError } from '@bulkhead/protocol';
import { channelLimits } from './channel-limits.ts';
import { ProtocolViolation } from './frame.ts';
import type { Identity } from './guest.ts';
import { parseMessage } from './json.ts';
import { type Confirm, confirmSchema } from './messages.ts';

export interface Challenge {
  readonly epoch: number;
  readonly proof: Buffer;
  /** The payload of IDENTIFY for this moment. */
  identify(unixMs: number): Buffer;
}

/** What to send to a guest that shall become `identity`, and what it must answer. */
export function makeChallenge(identity: Identity): Challenge {
  const { epoch, key, hostname, machineId, renew } = identity;
  if (!Number.isInteger(epoch) || epoch < 1 || epoch > channelLimits.epochMax || key.length !== 32) {
    throw new BulkheadError('invalid_request', 'An identity has an epoch from 1 to 65,535 and a key of 32 bytes');
  }
  const challenge = randomBytes(32);
  const entropy = randomBytes(256).toString('base64');
  const epochBytes = Buffer.alloc(4);
  epochBytes.writeUInt32BE(epoch);
  const proof = createHmac('sha256', key).update('bulkhead-confirm').update(challenge).update(epochBytes).digest();
  return {
    epoch,
    proof,
    identify: (unixMs) =>
      Buffer.from(
        JSON.stringify({
          epoch,
          key: Buffer.from(key).toString('base64'),
          challenge: challenge.toString('base64'),
          entropy,
          unixTimeNs: String(BigInt(Math.round(unixMs * 1000)) * 1000n),
          hostname,
          machineId,
          renew,
        }),
      ),
  };
}

/** The guest's answer, when it proves the key. Throws `ProtocolViolation`. */
export function checkConfirm(payload: Buffer, challenge: Challenge): Confirm {
  const confirm = parseMessage(payload, confirmSchema, 'CONFIRM');
  if (confirm.epoch !== challenge.epoch) throw new ProtocolViolation('CONFIRM of another epoch');
  if (!timingSafeEqual(Buffer.from(confirm.proof, 'base64'), challenge.proof)) {
    throw new ProtocolViolation('CONFIRM without proof of the key');
  }
  return confirm;
}
