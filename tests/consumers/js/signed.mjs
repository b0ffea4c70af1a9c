// The JavaScript SDK v3 at a server that verifies signatures: signed.mjs ENDPOINT, keys from the environment.

import assert from "node:assert/strict";
import * as SQS from "@aws-sdk/client-sqs";
import { endpoint, run, settings } from "./scenarios.mjs";

const key = { accessKeyId: process.env.KEY, secretAccessKey: process.env.SECRET };

function client(credentials, more = {}) {
  return new SQS.SQS({ ...settings, credentials, maxAttempts: 1, ...more });
}

async function refused(promise, name) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, name);
    assert.equal(error.$metadata.httpStatusCode, 403);
    return true;
  });
}

await run({
  "a job goes round": async () => {
    const sqs = client(key);
    const { QueueUrl } = await sqs.createQueue({ QueueName: "signed" });
    assert.equal(QueueUrl, `${endpoint}/${process.env.ACCOUNT}/signed`);
    await sqs.sendMessage({ QueueUrl, MessageBody: "grüße 🌍 \t\r\n<&>" });
    const { Messages: [job] } = await sqs.receiveMessage({ QueueUrl });
    assert.equal(job.Body, "grüße 🌍 \t\r\n<&>");
    await sqs.deleteMessage({ QueueUrl, ReceiptHandle: job.ReceiptHandle });
  },

  "a large message goes round": async () => {
    const sqs = client(key);
    const { QueueUrl } = await sqs.createQueue({ QueueName: "signed-large" });
    const MessageBody = "x".repeat(600_000);
    await sqs.sendMessage({ QueueUrl, MessageBody });
    const { Messages: [job] } = await sqs.receiveMessage({ QueueUrl });
    assert.equal(job.Body, MessageBody);
  },

  "a session token is wanted and known": async () => {
    const session = { accessKeyId: process.env.SESSION_KEY, secretAccessKey: process.env.SESSION_SECRET };
    await client({ ...session, sessionToken: process.env.SESSION_TOKEN }).listQueues({});
    await refused(client({ ...session, sessionToken: "another" }).listQueues({}), "InvalidClientTokenId");
    await refused(client(session).listQueues({}), "InvalidClientTokenId");
  },

  "a wrong secret, an unknown key and a clock that is wrong are told apart": async () => {
    await refused(client({ ...key, secretAccessKey: "guess" }).listQueues({}), "SignatureDoesNotMatch");
    await refused(client({ ...key, accessKeyId: "NOBODY" }).listQueues({}), "InvalidClientTokenId");
    const late = client(key, { systemClockOffset: -20 * 60_000 });
    await assert.rejects(late.listQueues({}), /Signature expired: /);
  },
});
