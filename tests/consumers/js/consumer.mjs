// sqs-consumer and sqs-producer: consumer.mjs ENDPOINT.

import assert from "node:assert/strict";
import { SQS } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";
import { Producer } from "sqs-producer";
import { advance, run, settings, until } from "./scenarios.mjs";

const sqs = new SQS(settings);
let count = 0;

async function queue(attributes = {}) {
  const name = `consumed-${++count}${attributes.FifoQueue ? ".fifo" : ""}`;
  return (await sqs.createQueue({ QueueName: name, Attributes: attributes })).QueueUrl;
}

/** Runs a consumer while `work` is under way; an error event that nobody expects is the scenario's error. */
async function consuming(options, work) {
  const unexpected = [];
  const consumer = Consumer.create({ sqs, suppressFifoWarning: true, ...options });
  for (const event of ["error", "processing_error", "timeout_error"])
    consumer.on(event, (error) => {
      if (!options.expected?.test(error.message)) unexpected.push(error);
    });
  consumer.start();
  try {
    await work(consumer);
  } finally {
    consumer.stop({ abort: true });
  }
  if (unexpected.length) throw unexpected[0];
}

async function counts(QueueUrl) {
  const { Attributes } = await sqs.getQueueAttributes({ QueueUrl, AttributeNames: ["All"] });
  return [Number(Attributes.ApproximateNumberOfMessages), Number(Attributes.ApproximateNumberOfMessagesNotVisible)];
}

const drained = (QueueUrl) =>
  until("the queue is empty", async () => (await counts(QueueUrl)).every((n) => n === 0));

await run({
  "a job is handled as soon as it is sent, with its attributes, and deleted": async () => {
    const queueUrl = await queue();
    const got = [];
    const handleMessage = async (message) => (got.push(message), message);
    const all = { messageAttributeNames: ["All"], messageSystemAttributeNames: ["All"], attributeNames: ["All"] };
    await consuming({ queueUrl, handleMessage, ...all }, async (consumer) => {
      await until("the consumer polls", () => consumer.status.isPolling);
      const began = performance.now();
      const MessageAttributes = { kind: { DataType: "String", StringValue: "invoice" } };
      await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "a job", MessageAttributes });
      await until("the job is handled", () => got.length);
      assert.ok(performance.now() - began < 1000, `it took ${performance.now() - began} ms`);
      await drained(queueUrl);
    });
    assert.equal(got[0].Body, "a job");
    assert.equal(got[0].MessageAttributes.kind.StringValue, "invoice");
    assert.equal(got[0].Attributes.ApproximateReceiveCount, "1");
  },

  "a batch is handled together, and only what the handler returns is deleted": async () => {
    const queueUrl = await queue();
    const bodies = ["1", "2", "3", "keep"];
    await Producer.create({ sqs, queueUrl }).send(bodies);
    const batches = [];
    const handleMessageBatch = async (messages) => {
      batches.push(messages.map(({ Body }) => Body).sort());
      return messages.filter(({ Body }) => Body !== "keep");
    };
    await consuming({ queueUrl, batchSize: 10, visibilityTimeout: 30, handleMessageBatch }, async () => {
      await until("three are deleted", async () => String(await counts(queueUrl)) === "0,1");
      await advance(30);
      await until("the fourth comes again", () => batches.length === 2);
    });
    assert.deepEqual(batches, [bodies, ["keep"]]);
  },

  "heartbeats keep a message from others as long as the work lasts": async () => {
    const queueUrl = await queue();
    await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "long work" });
    let beats = 0;
    const beating = new SQS(settings);
    beating.middlewareStack.add((next, { commandName }) => async (step) => {
      const answer = await next(step);
      if (commandName === "ChangeMessageVisibilityCommand") beats += 1;
      return answer;
    }, { step: "initialize", name: "beats" });
    let handled = 0;
    const handleMessage = async (message) => {
      for (let round = 0; round < 3; round += 1) {
        await advance(8);
        const before = beats;
        await until("a heartbeat is answered that began after the clock moved", () => beats > before + 1);
        const other = await sqs.receiveMessage({ QueueUrl: queueUrl });
        assert.equal(other.Messages, undefined);
      }
      handled += 1;
      return message;
    };
    const options = { sqs: beating, queueUrl, visibilityTimeout: 10, heartbeatInterval: 0.05, handleMessage };
    await consuming(options, async () => {
      await until("the work is done", () => handled);
      await drained(queueUrl);
    });
    assert.equal(handled, 1);
  },

  "without heartbeats the message comes back after its visibility timeout": async () => {
    const queueUrl = await queue();
    await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "long work" });
    let started = 0;
    const handleMessage = async (message) => {
      if ((started += 1) === 1) {
        await advance(10);
        const { Messages } = await sqs.receiveMessage({ QueueUrl: queueUrl, WaitTimeSeconds: 5 });
        assert.equal(Messages[0].MessageId, message.MessageId);
        await sqs.deleteMessage({ QueueUrl: queueUrl, ReceiptHandle: Messages[0].ReceiptHandle });
      }
      return message;
    };
    await consuming({ queueUrl, visibilityTimeout: 10, handleMessage }, () => drained(queueUrl));
    assert.equal(started, 1);
  },

  "a handler that fails gives the message back at once with terminateVisibilityTimeout": async () => {
    const queueUrl = await queue();
    await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "flaky" });
    const receives = [];
    const handleMessage = async (message) => {
      receives.push(message.Attributes.ApproximateReceiveCount);
      if (receives.length < 3) throw new Error("not yet");
      return message;
    };
    const options = { messageSystemAttributeNames: ["ApproximateReceiveCount"], terminateVisibilityTimeout: true };
    await consuming({ queueUrl, handleMessage, expected: /not yet/, ...options }, () => drained(queueUrl));
    assert.deepEqual(receives, ["1", "2", "3"]);
  },

  "a growing terminateVisibilityTimeout holds the message back for as long": async () => {
    const queueUrl = await queue();
    await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "flaky" });
    let tries = 0;
    const handleMessage = async (message) => {
      if ((tries += 1) === 1) throw new Error("not yet");
      return message;
    };
    const terminateVisibilityTimeout = ([message]) => 100 * Number(message.Attributes.ApproximateReceiveCount);
    const options = { messageSystemAttributeNames: ["All"], terminateVisibilityTimeout, visibilityTimeout: 1000 };
    let ended;
    await consuming({ queueUrl, handleMessage, expected: /not yet/, ...options }, async (consumer) => {
      consumer.on("response_processed", () => (ended = true));
      await until("the first try has failed", () => ended);
      await advance(99);
      assert.deepEqual(await counts(queueUrl), [0, 1]);
      await advance(1);
      await drained(queueUrl);
    });
    assert.equal(tries, 2);
  },

  "a handler that is never done times out, and after maxReceiveCount the message is in the dead-letter queue": async () => {
    const dead = await queue();
    const { Attributes } = await sqs.getQueueAttributes({ QueueUrl: dead, AttributeNames: ["QueueArn"] });
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: Attributes.QueueArn, maxReceiveCount: 2 });
    const queueUrl = await queue({ RedrivePolicy });
    await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "poison" });
    let timeouts = 0;
    const options = { handleMessageTimeout: 20, terminateVisibilityTimeout: true, expected: /timed out/ };
    await consuming({ queueUrl, handleMessage: () => new Promise(() => {}), ...options }, async (consumer) => {
      consumer.on("timeout_error", () => (timeouts += 1));
      const found = await sqs.receiveMessage({
        QueueUrl: dead, WaitTimeSeconds: 20, MessageSystemAttributeNames: ["DeadLetterQueueSourceArn"],
      });
      assert.equal(found.Messages[0].Body, "poison");
      assert.match(found.Messages[0].Attributes.DeadLetterQueueSourceArn, /consumed/);
    });
    assert.equal(timeouts, 2);
  },

  "a queue that is not there is an error event with AWS's code": async () => {
    const queueUrl = `${(await queue()).replace(/[^/]*$/, "")}nowhere`;
    const errors = [];
    const options = { handleMessage: async () => undefined, expected: /does not exist/, extendedAWSErrors: true };
    await consuming({ queueUrl, ...options }, async (consumer) => {
      consumer.on("error", (error) => errors.push(error));
      await until("the error is told", () => errors.length);
    });
    assert.equal(errors[0].code, "QueueDoesNotExist");
    assert.equal(errors[0].statusCode, 400);
    assert.equal(errors[0].fault, "client");
    assert.match(errors[0].message, /The specified queue does not exist\./);
  },

  "a consumer that is stopped lets the next one take over at once": async () => {
    const queueUrl = await queue();
    const unseen = async () => assert.fail("a stopped consumer was given a job");
    await consuming({ queueUrl, handleMessage: unseen }, (first) =>
      until("the first polls", () => first.status.isPolling));
    let got = 0;
    await consuming({ queueUrl, handleMessage: async (message) => ((got += 1), message) }, async () => {
      await sqs.sendMessage({ QueueUrl: queueUrl, MessageBody: "for the second" });
      await drained(queueUrl);
    });
    assert.equal(got, 1);
  },

  "a FIFO queue is consumed in the order of each group": async () => {
    const queueUrl = await queue({ FifoQueue: "true" });
    const producer = Producer.create({ sqs, queueUrl });
    const jobs = Array.from({ length: 20 }, (_, n) => ({
      id: `${n}`, body: `${n}`, groupId: `group-${n % 4}`, deduplicationId: `${n}`,
    }));
    await producer.send(jobs);
    await producer.send(jobs);
    assert.equal(await producer.queueSize(), 20);
    const order = {};
    const handleMessage = async (message) => {
      (order[message.Attributes.MessageGroupId] ??= []).push(Number(message.Body));
      return message;
    };
    const options = { batchSize: 1, messageSystemAttributeNames: ["MessageGroupId"] };
    await consuming({ queueUrl, handleMessage, ...options }, () =>
      consuming({ queueUrl, handleMessage, ...options }, () => drained(queueUrl)));
    for (let group = 0; group < 4; group += 1)
      assert.deepEqual(order[`group-${group}`], [0, 4, 8, 12, 16].map((n) => n + group));
  },

  "three consumers share two hundred jobs, each done once": async () => {
    const queueUrl = await queue();
    const bodies = Array.from({ length: 200 }, (_, n) => `job-${n}`);
    await Producer.create({ sqs, queueUrl }).send(bodies);
    const done = [];
    const handleMessage = async (message) => (done.push(message.Body), message);
    const share = (left) =>
      left === 0 ? drained(queueUrl) : consuming({ queueUrl, batchSize: 10, handleMessage }, () => share(left - 1));
    await share(3);
    assert.deepEqual(done.sort(), bodies.sort());
  },
});
