import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.exception.SdkClientException;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.core.SdkResponse;
import software.amazon.awssdk.services.sqs.SqsAsyncClient;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.batchmanager.SqsAsyncBatchManager;
import software.amazon.awssdk.services.sqs.model.*;

/** The Java SDK v2, with its batch manager: Sdk ENDPOINT. It sends JSON, checks MD5s, has errors of its own types. */
final class Sdk {
    private final Scenarios scenarios;
    private final SqsClient sqs;
    private final SqsAsyncClient async;
    private int count;

    Sdk(String endpoint) {
        scenarios = new Scenarios(endpoint);
        sqs = scenarios.pointed(SqsClient.builder()).build();
        async = scenarios.pointed(SqsAsyncClient.builder()).build();
    }

    public static void main(String[] arguments) {
        new Sdk(arguments[0]).run();
        System.exit(0); // netty's threads linger
    }

    private void run() {
        Map<String, Scenarios.Scenario> all = new LinkedHashMap<>();
        all.put("a job goes round", this::aJobGoesRound);
        all.put("the environment alone points a client", this::aClientIsPointedByTheEnvironment);
        all.put("message attributes come back with digests that the SDK checks", this::attributesComeBackWithDigests);
        all.put("a body that was changed on the way is noticed, so the check is on", this::aChangedBodyIsNoticed);
        all.put("a receiver that waits gets the message promptly", this::aWaitingReceiverIsServedPromptly);
        all.put("a wait that was cancelled takes no message", this::aCancelledWaitTakesNoMessage);
        all.put("a visibility timeout is extended, and ended", this::aVisibilityTimeoutIsExtendedAndEnded);
        all.put("batches tell what went and what did not", this::batchesTellWhatWentAndWhatDidNot);
        all.put("a FIFO queue keeps the order of a group and swallows duplicates", this::aFifoQueueKeepsOrder);
        all.put("errors are of the SDK's own types", this::errorsAreOfTheSdksOwnTypes);
        all.put("the paginator walks over all queues", this::thePaginatorWalksOverAllQueues);
        all.put("the batch manager sends, receives, extends and deletes in batches", this::theBatchManagerBatches);
        all.put("the batch manager tells a bad message's sender alone", this::theBatchManagerTellsTheSender);
        scenarios.run(all);
    }

    private String queue(Map<QueueAttributeName, String> attributes) {
        String suffix = attributes.containsKey(QueueAttributeName.FIFO_QUEUE) ? ".fifo" : "";
        String name = "java-" + ++count + suffix;
        return sqs.createQueue(r -> r.queueName(name).attributes(attributes)).queueUrl();
    }

    private String queue() {
        return queue(Map.of());
    }

    private SendMessageResponse send(String url, String body) {
        return sqs.sendMessage(r -> r.queueUrl(url).messageBody(body));
    }

    private List<Message> receive(String url, int wait) {
        return sqs.receiveMessage(r -> r.queueUrl(url).maxNumberOfMessages(10).waitTimeSeconds(wait)
                .messageAttributeNames("All").messageSystemAttributeNames(MessageSystemAttributeName.ALL)).messages();
    }

    private void delete(String url, Message message) {
        sqs.deleteMessage(r -> r.queueUrl(url).receiptHandle(message.receiptHandle()));
    }

    private void aJobGoesRound() throws Exception {
        String url = queue();
        SendMessageResponse sent = send(url, "grüße 🌍\r\n<&>");
        Message job = receive(url, 0).get(0);
        Scenarios.same("grüße 🌍\r\n<&>", job.body());
        Scenarios.same(sent.messageId(), job.messageId());
        delete(url, job);
        scenarios.advance(31);
        Scenarios.same(List.of(), receive(url, 0));
    }

    private void aClientIsPointedByTheEnvironment() {
        String url = queue();
        try (SqsClient pointed = SqsClient.create()) {
            Scenarios.check(pointed.sendMessage(r -> r.queueUrl(url).messageBody("x")).messageId() != null, "no id");
        }
    }

    private void attributesComeBackWithDigests() {
        String url = queue();
        SdkBytes bytes = SdkBytes.fromByteArray(new byte[] {0, -1, -128});
        SendMessageResponse sent = sqs.sendMessage(r -> r.queueUrl(url).messageBody("x")
                .messageAttributes(Map.of(
                        "text", MessageAttributeValue.builder().dataType("String").stringValue("ü").build(),
                        "number", MessageAttributeValue.builder().dataType("Number.int").stringValue("7").build(),
                        "bytes", MessageAttributeValue.builder().dataType("Binary").binaryValue(bytes).build()))
                .messageSystemAttributes(Map.of(
                        MessageSystemAttributeNameForSends.AWS_TRACE_HEADER,
                        MessageSystemAttributeValue.builder().dataType("String")
                                .stringValue("Root=1-5759e988-bd862e3fe1be46a994272793").build())));
        Message message = receive(url, 0).get(0);
        Scenarios.same(sent.md5OfMessageAttributes(), message.md5OfMessageAttributes());
        Scenarios.same(bytes, message.messageAttributes().get("bytes").binaryValue());
        Scenarios.same("ü", message.messageAttributes().get("text").stringValue());
        Scenarios.same("Number.int", message.messageAttributes().get("number").dataType());
        Scenarios.same("1", message.attributes().get(MessageSystemAttributeName.APPROXIMATE_RECEIVE_COUNT));
        Scenarios.check(message.attributes().get(MessageSystemAttributeName.AWS_TRACE_HEADER).startsWith("Root="), message);
    }

    private void aChangedBodyIsNoticed() throws Exception {
        String url = queue();
        ExecutionInterceptor tamper = new ExecutionInterceptor() {
            @Override
            public SdkResponse modifyResponse(Context.ModifyResponse context, ExecutionAttributes attributes) {
                return ((SendMessageResponse) context.response()).toBuilder().md5OfMessageBody("0".repeat(32)).build();
            }
        };
        try (SqsClient tampered = scenarios.pointed(SqsClient.builder())
                .overrideConfiguration(c -> c.addExecutionInterceptor(tamper)).build()) {
            SdkClientException error = Scenarios.fails(
                    SdkClientException.class, () -> tampered.sendMessage(r -> r.queueUrl(url).messageBody("x")));
            Scenarios.check(error.getMessage().contains("MD5"), error);
        }
    }

    private void aWaitingReceiverIsServedPromptly() throws Exception {
        String url = queue();
        CompletableFuture<Long> got = async.receiveMessage(r -> r.queueUrl(url).waitTimeSeconds(20))
                .thenApply(answer -> answer.messages().isEmpty() ? Long.MAX_VALUE : System.nanoTime());
        Thread.sleep(200); // so that it waits before there is anything
        long began = System.nanoTime();
        send(url, "now");
        Duration took = Duration.ofNanos(got.get(10, TimeUnit.SECONDS) - began);
        Scenarios.check(took.toMillis() < 1000, "it took " + took);
    }

    private void aCancelledWaitTakesNoMessage() throws Exception {
        String url = queue();
        CompletableFuture<ReceiveMessageResponse> wait = async.receiveMessage(r -> r.queueUrl(url).waitTimeSeconds(20));
        Thread.sleep(200);
        wait.cancel(true);
        CompletableFuture<ReceiveMessageResponse> next = async.receiveMessage(r -> r.queueUrl(url).waitTimeSeconds(20));
        Thread.sleep(100);
        send(url, "for who still waits");
        Scenarios.same(1, next.get(10, TimeUnit.SECONDS).messages().size());
    }

    private void aVisibilityTimeoutIsExtendedAndEnded() throws Exception {
        String url = queue(Map.of(QueueAttributeName.VISIBILITY_TIMEOUT, "10"));
        send(url, "long work");
        String handle = receive(url, 0).get(0).receiptHandle();
        scenarios.advance(9);
        sqs.changeMessageVisibility(r -> r.queueUrl(url).receiptHandle(handle).visibilityTimeout(60));
        scenarios.advance(50);
        Scenarios.same(List.of(), receive(url, 0));
        sqs.changeMessageVisibility(r -> r.queueUrl(url).receiptHandle(handle).visibilityTimeout(0));
        Scenarios.same(1, receive(url, 0).size());
    }

    private void batchesTellWhatWentAndWhatDidNot() {
        String url = queue();
        SendMessageBatchResponse sent = sqs.sendMessageBatch(r -> r.queueUrl(url).entries(
                e -> e.id("good").messageBody("1"),
                e -> e.id("bad").messageBody("2").delaySeconds(901),
                e -> e.id("fine").messageBody("3")));
        Scenarios.same(2, sent.successful().size());
        Scenarios.same("bad", sent.failed().get(0).id());
        Scenarios.check(sent.failed().get(0).senderFault(), sent);
        List<Message> messages = receive(url, 0);
        ChangeMessageVisibilityBatchResponse held = sqs.changeMessageVisibilityBatch(r -> r.queueUrl(url)
                .entries(messages.stream().map(m -> ChangeMessageVisibilityBatchRequestEntry.builder()
                        .id(m.messageId()).receiptHandle(m.receiptHandle()).visibilityTimeout(60).build()).toList()));
        Scenarios.same(2, held.successful().size());
        DeleteMessageBatchResponse gone = sqs.deleteMessageBatch(r -> r.queueUrl(url)
                .entries(messages.stream().map(m -> DeleteMessageBatchRequestEntry.builder()
                        .id(m.messageId()).receiptHandle(m.receiptHandle()).build()).toList()));
        Scenarios.same(2, gone.successful().size());
        Scenarios.check(!gone.hasFailed(), gone);
    }

    private void aFifoQueueKeepsOrder() {
        String url = queue(Map.of(
                QueueAttributeName.FIFO_QUEUE, "true", QueueAttributeName.CONTENT_BASED_DEDUPLICATION, "true"));
        for (String group : List.of("a", "b")) {
            for (int n : new int[] {1, 2, 2, 3}) {
                sqs.sendMessage(r -> r.queueUrl(url).messageGroupId(group).messageBody(group + n));
            }
        }
        Map<String, List<String>> order = new HashMap<>();
        for (int left = 6; left > 0; ) {
            List<Message> messages = receive(url, 0);
            Scenarios.check(!messages.isEmpty(), "nothing came with " + left + " to come");
            for (Message message : messages) {
                String group = message.attributes().get(MessageSystemAttributeName.MESSAGE_GROUP_ID);
                order.computeIfAbsent(group, g -> new ArrayList<>()).add(message.body());
                Scenarios.same(20, message.attributes().get(MessageSystemAttributeName.SEQUENCE_NUMBER).length());
                delete(url, message);
                left--;
            }
        }
        Scenarios.same(Map.of("a", List.of("a1", "a2", "a3"), "b", List.of("b1", "b2", "b3")), order);
    }

    private void errorsAreOfTheSdksOwnTypes() throws Exception {
        String url = queue();
        QueueDoesNotExistException missing = Scenarios.fails(
                QueueDoesNotExistException.class, () -> sqs.getQueueUrl(r -> r.queueName("nowhere")));
        Scenarios.same("AWS.SimpleQueueService.NonExistentQueue", missing.awsErrorDetails().errorCode());
        Scenarios.same("The specified queue does not exist.", missing.awsErrorDetails().errorMessage());
        Scenarios.same(400, missing.statusCode());
        Scenarios.check(missing.requestId() != null, missing);
        Scenarios.fails(QueueNameExistsException.class, () -> sqs.createQueue(r -> r
                .queueName(url.substring(url.lastIndexOf('/') + 1))
                .attributes(Map.of(QueueAttributeName.DELAY_SECONDS, "7"))));
        Scenarios.fails(EmptyBatchRequestException.class,
                () -> sqs.sendMessageBatch(r -> r.queueUrl(url).entries(List.of())));
        Scenarios.fails(ReceiptHandleIsInvalidException.class,
                () -> sqs.deleteMessage(r -> r.queueUrl(url).receiptHandle("x")));
        Scenarios.fails(InvalidMessageContentsException.class, () -> send(url, "\u0001"));
        Scenarios.fails(InvalidAttributeNameException.class,
                () -> sqs.setQueueAttributes(r -> r.queueUrl(url).attributesWithStrings(Map.of("Foo", "1"))));
        Scenarios.fails(ResourceNotFoundException.class, () -> sqs.startMessageMoveTask(
                r -> r.sourceArn("arn:aws:sqs:us-east-1:000000000000:nowhere")));
        SqsException unmodelled = Scenarios.fails(SqsException.class,
                () -> sqs.sendMessage(r -> r.queueUrl(url).messageBody("x").delaySeconds(901)));
        Scenarios.same("InvalidParameterValue", unmodelled.awsErrorDetails().errorCode());
    }

    private void thePaginatorWalksOverAllQueues() {
        List<String> made = IntStream.range(0, 5)
                .mapToObj(n -> sqs.createQueue(r -> r.queueName("paged-" + n)).queueUrl()).toList();
        List<String> found = new ArrayList<>();
        sqs.listQueuesPaginator(r -> r.queueNamePrefix("paged-").maxResults(2)).forEach(page -> {
            Scenarios.check(page.queueUrls().size() <= 2, page);
            found.addAll(page.queueUrls());
        });
        Scenarios.same(made, found);
    }

    private SqsAsyncBatchManager batchManager() {
        return SqsAsyncBatchManager.builder().client(async)
                .scheduledExecutor(Executors.newScheduledThreadPool(2))
                .overrideConfiguration(c -> c.maxBatchSize(10).sendRequestFrequency(Duration.ofMillis(50))
                        .receiveMessageMinWaitDuration(Duration.ofMillis(50))
                        .receiveMessageVisibilityTimeout(Duration.ofSeconds(60))
                        .receiveMessageSystemAttributeNames(List.of(MessageSystemAttributeName.ALL)))
                .build();
    }

    private void theBatchManagerBatches() throws Exception {
        String url = queue(Map.of(QueueAttributeName.RECEIVE_MESSAGE_WAIT_TIME_SECONDS, "1"));
        try (SqsAsyncBatchManager batches = batchManager()) {
            List<CompletableFuture<SendMessageResponse>> sending = IntStream.range(0, 45)
                    .mapToObj(n -> batches.sendMessage(r -> r.queueUrl(url).messageBody("job " + n))).toList();
            Set<String> ids = new HashSet<>();
            for (CompletableFuture<SendMessageResponse> each : sending) {
                ids.add(each.get(10, TimeUnit.SECONDS).messageId());
            }
            Scenarios.same(45, ids.size());
            ConcurrentLinkedQueue<String> done = new ConcurrentLinkedQueue<>();
            List<CompletableFuture<?>> changes = new ArrayList<>();
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
            while (done.size() < 45 && System.nanoTime() < end) {
                for (Message message : batches.receiveMessage(r -> r.queueUrl(url).maxNumberOfMessages(10))
                        .get(30, TimeUnit.SECONDS).messages()) {
                    done.add(message.body());
                    changes.add(batches.changeMessageVisibility(r -> r.queueUrl(url)
                            .receiptHandle(message.receiptHandle()).visibilityTimeout(120))
                            .thenCompose(held -> batches.deleteMessage(r -> r.queueUrl(url)
                                    .receiptHandle(message.receiptHandle()))));
                }
            }
            for (CompletableFuture<?> each : changes) {
                each.get(10, TimeUnit.SECONDS);
            }
            Scenarios.same(45, done.size());
            Scenarios.same(IntStream.range(0, 45).mapToObj(n -> "job " + n).collect(Collectors.toSet()), new HashSet<>(done));
        }
        scenarios.advance(121);
        Scenarios.same(List.of(), receive(url, 0));
    }

    private void theBatchManagerTellsTheSender() throws Exception {
        String url = queue();
        try (SqsAsyncBatchManager batches = batchManager()) {
            CompletableFuture<SendMessageResponse> good = batches.sendMessage(r -> r.queueUrl(url).messageBody("good"));
            CompletableFuture<SendMessageResponse> bad =
                    batches.sendMessage(r -> r.queueUrl(url).messageBody("bad").delaySeconds(901));
            Scenarios.check(good.get(10, TimeUnit.SECONDS).messageId() != null, "no id");
            CompletionException error = Scenarios.fails(CompletionException.class, bad::join);
            Scenarios.check(error.getCause() instanceof SqsException, error);
            Scenarios.same("InvalidParameterValue", ((SqsException) error.getCause()).awsErrorDetails().errorCode());
        }
    }
}
