// The JavaScript SDK v3 itself: sdk.mjs ENDPOINT. It sends JSON, checks every MD5, and has errors of its own types.

import assert from "node:assert/strict";
import * as SQS from "@aws-sdk/client-sqs";
import { advance, endpoint, run, settings } from "./scenarios.mjs";

const sqs = new SQS.SQS(settings);
let count = 0;

async function queue(attributes = {}) {
  const name = `js-${++count}${attributes.FifoQueue ? ".fifo" : ""}`;
  return (await sqs.createQueue({ QueueName: name, Attributes: attributes })).QueueUrl;
}

await run({
  "a job goes round": async () => {
    const QueueUrl = await queue();
    const sent = await sqs.sendMessage({ QueueUrl, MessageBody: "grüße 🌍\r\n<&>" });
    const { Messages: [job] } = await sqs.receiveMessage({ QueueUrl });
    assert.equal(job.Body, "grüße 🌍\r\n<&>");
    assert.equal(job.MessageId, sent.MessageId);
    await sqs.deleteMessage({ QueueUrl, ReceiptHandle: job.ReceiptHandle });
    await advance(31);
    assert.equal((await sqs.receiveMessage({ QueueUrl })).Messages, undefined);
  },

  "a client that was given no endpoint calls the one that the queue's URL names": async () => {
    const QueueUrl = await queue();
    assert.equal(new URL(QueueUrl).origin, new URL(endpoint).origin);
    const warned = [];
    const logger = { warn: (text) => warned.push(text), debug() {}, info() {}, error() {}, trace() {} };
    await new SQS.SQS({ ...settings, endpoint: undefined, logger }).sendMessage({ QueueUrl, MessageBody: "by URL" });
    assert.match(warned.join(), /using QueueUrl host as endpoint/);
    const elsewhere = QueueUrl.replace(endpoint, "https://sqs.us-east-1.amazonaws.com");
    const { Messages: [message] } = await sqs.receiveMessage({ QueueUrl: elsewhere });
    assert.equal(message.Body, "by URL");
  },

  "the SDK finds the endpoint in the environment": async () => {
    process.env.AWS_ENDPOINT_URL_SQS = endpoint;
    try {
      await new SQS.SQS({ ...settings, endpoint: undefined }).listQueues({});
    } finally {
      delete process.env.AWS_ENDPOINT_URL_SQS;
    }
  },

  "message attributes come back with digests that the SDK checks": async () => {
    const QueueUrl = await queue();
    const MessageAttributes = {
      text: { DataType: "String", StringValue: "ü" },
      number: { DataType: "Number.int", StringValue: "7" },
      bytes: { DataType: "Binary", BinaryValue: Uint8Array.of(0, 255, 128) },
    };
    const MessageSystemAttributes = {
      AWSTraceHeader: { DataType: "String", StringValue: "Root=1-5759e988-bd862e3fe1be46a994272793" },
    };
    const sent = await sqs.sendMessage({ QueueUrl, MessageBody: "x", MessageAttributes, MessageSystemAttributes });
    assert.ok(sent.MD5OfMessageAttributes && sent.MD5OfMessageSystemAttributes);
    const { Messages: [message] } = await sqs.receiveMessage({
      QueueUrl, MessageAttributeNames: ["All"], MessageSystemAttributeNames: ["All"],
    });
    assert.deepEqual(message.MessageAttributes.bytes.BinaryValue, Uint8Array.of(0, 255, 128));
    assert.equal(message.MessageAttributes.text.StringValue, "ü");
    assert.equal(message.MessageAttributes.number.DataType, "Number.int");
    assert.equal(message.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
    assert.equal(message.Attributes.ApproximateReceiveCount, "1");
    assert.match(message.Attributes.AWSTraceHeader, /^Root=/);
  },

  "a body that was changed on the way is noticed, so the check is on": async () => {
    const QueueUrl = await queue();
    const tampered = new SQS.SQS(settings);
    tampered.middlewareStack.add((next) => async (step) => {
      const answer = await next(step);
      if (answer.output.MD5OfMessageBody) answer.output.MD5OfMessageBody = "0".repeat(32);
      return answer;
    }, { step: "deserialize", priority: "high", name: "tamper" });
    await assert.rejects(tampered.sendMessage({ QueueUrl, MessageBody: "x" }), /InvalidChecksumError/);
  },

  "a receiver that waits gets the message promptly": async () => {
    const QueueUrl = await queue();
    const waiting = sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 20 });
    await new Promise((resume) => setTimeout(resume, 200));
    const began = performance.now();
    await sqs.sendMessage({ QueueUrl, MessageBody: "now" });
    const { Messages: [message] } = await waiting;
    assert.equal(message.Body, "now");
    assert.ok(performance.now() - began < 1000, `it took ${performance.now() - began} ms`);
  },

  "a wait can be aborted, and the message goes to the next receiver": async () => {
    const QueueUrl = await queue();
    const abort = new AbortController();
    const waiting = sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 20 }, { abortSignal: abort.signal });
    setTimeout(() => abort.abort(), 100);
    await assert.rejects(waiting, { name: "AbortError" });
    const next = sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 20 });
    await sqs.sendMessage({ QueueUrl, MessageBody: "for who still waits" });
    assert.equal((await next).Messages.length, 1);
  },

  "a visibility timeout is extended, and ended": async () => {
    const QueueUrl = await queue({ VisibilityTimeout: "10" });
    await sqs.sendMessage({ QueueUrl, MessageBody: "long work" });
    const { Messages: [{ ReceiptHandle }] } = await sqs.receiveMessage({ QueueUrl });
    await advance(9);
    await sqs.changeMessageVisibility({ QueueUrl, ReceiptHandle, VisibilityTimeout: 60 });
    await advance(50);
    assert.equal((await sqs.receiveMessage({ QueueUrl })).Messages, undefined);
    await sqs.changeMessageVisibility({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 });
    assert.equal((await sqs.receiveMessage({ QueueUrl })).Messages.length, 1);
  },

  "batches tell what went and what did not": async () => {
    const QueueUrl = await queue();
    const sent = await sqs.sendMessageBatch({
      QueueUrl,
      Entries: [
        { Id: "good", MessageBody: "1" },
        { Id: "bad", MessageBody: "2", DelaySeconds: 901 },
        { Id: "fine", MessageBody: "3" },
      ],
    });
    assert.deepEqual(sent.Successful.map((entry) => entry.Id).sort(), ["fine", "good"]);
    assert.equal(sent.Failed[0].Id, "bad");
    assert.equal(sent.Failed[0].SenderFault, true);
    const { Messages } = await sqs.receiveMessage({ QueueUrl, MaxNumberOfMessages: 10 });
    assert.equal(Messages.length, 2);
    const handles = Messages.map(({ MessageId: Id, ReceiptHandle }) => ({ Id, ReceiptHandle }));
    const held = await sqs.changeMessageVisibilityBatch({
      QueueUrl, Entries: handles.map((entry) => ({ ...entry, VisibilityTimeout: 60 })),
    });
    assert.equal(held.Successful.length, 2);
    const gone = await sqs.deleteMessageBatch({ QueueUrl, Entries: handles });
    assert.equal(gone.Successful.length, 2);
    assert.equal(gone.Failed, undefined);
  },

  "a FIFO queue keeps the order of a group and swallows duplicates": async () => {
    const QueueUrl = await queue({ FifoQueue: "true", ContentBasedDeduplication: "true" });
    for (const MessageGroupId of ["a", "b"])
      for (const n of [1, 2, 2, 3]) await sqs.sendMessage({ QueueUrl, MessageGroupId, MessageBody: `${MessageGroupId}${n}` });
    const order = { a: [], b: [] };
    for (let left = 6; left > 0; ) {
      const { Messages } = await sqs.receiveMessage({
        QueueUrl, MaxNumberOfMessages: 2, MessageSystemAttributeNames: ["MessageGroupId", "SequenceNumber"],
      });
      for (const message of Messages) {
        order[message.Attributes.MessageGroupId].push(message.Body);
        assert.match(message.Attributes.SequenceNumber, /^\d{20}$/);
        await sqs.deleteMessage({ QueueUrl, ReceiptHandle: message.ReceiptHandle });
        left -= 1;
      }
    }
    assert.deepEqual(order, { a: ["a1", "a2", "a3"], b: ["b1", "b2", "b3"] });
  },

  "errors are of the SDK's own types": async () => {
    const QueueUrl = await queue();
    const missing = await sqs.getQueueUrl({ QueueName: "nowhere" }).catch((error) => error);
    assert.ok(missing instanceof SQS.QueueDoesNotExist, missing);
    assert.equal(missing.name, "QueueDoesNotExist");
    assert.equal(missing.message, "The specified queue does not exist.");
    assert.equal(missing.$metadata.httpStatusCode, 400);
    assert.equal(missing.Code, "AWS.SimpleQueueService.NonExistentQueue");
    assert.ok(missing.$metadata.requestId);
    const other = { QueueName: QueueUrl.split("/").pop(), Attributes: { DelaySeconds: "7" } };
    await assert.rejects(sqs.createQueue(other), SQS.QueueNameExists);
    const empty = sqs.sendMessageBatch({ QueueUrl, Entries: [] });
    await assert.rejects(empty, SQS.EmptyBatchRequest);
    await assert.rejects(sqs.deleteMessage({ QueueUrl, ReceiptHandle: "x" }), SQS.ReceiptHandleIsInvalid);
    await assert.rejects(sqs.sendMessage({ QueueUrl, MessageBody: "\u0001" }), SQS.InvalidMessageContents);
    await assert.rejects(sqs.setQueueAttributes({ QueueUrl, Attributes: { Foo: "1" } }), SQS.InvalidAttributeName);
    await assert.rejects(sqs.sendMessage({ QueueUrl, MessageBody: "x", DelaySeconds: 901 }), {
      name: "InvalidParameterValue",
    });
    const task = { SourceArn: "arn:aws:sqs:us-east-1:000000000000:nowhere" };
    await assert.rejects(sqs.startMessageMoveTask(task), SQS.ResourceNotFoundException);
  },

  "the paginators walk over all queues": async () => {
    for (let n = 0; n < 5; n += 1) await sqs.createQueue({ QueueName: `paged-${n}` });
    const found = [];
    for await (const page of SQS.paginateListQueues({ client: sqs, pageSize: 2 }, { QueueNamePrefix: "paged-" }))
      found.push(...(page.QueueUrls ?? []));
    assert.deepEqual(found.map((url) => url.split("/").pop()), [0, 1, 2, 3, 4].map((n) => `paged-${n}`));
  },

  "a hundred requests at a time are answered, each with its own answer": async () => {
    const QueueUrl = await queue();
    const bodies = Array.from({ length: 100 }, (_, n) => `job ${n}`);
    await Promise.all(bodies.map((MessageBody) => sqs.sendMessage({ QueueUrl, MessageBody })));
    const got = new Set();
    await Promise.all(Array.from({ length: 10 }, async () => {
      for (;;) {
        const { Messages } = await sqs.receiveMessage({ QueueUrl, MaxNumberOfMessages: 10 });
        if (!Messages) return;
        for (const { Body } of Messages) {
          assert.ok(!got.has(Body), `${Body} twice`);
          got.add(Body);
        }
      }
    }));
    assert.equal(got.size, 100);
  },
});
