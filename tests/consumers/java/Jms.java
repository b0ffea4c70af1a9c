import com.amazon.sqs.javamessaging.AmazonSQSMessagingClientWrapper;
import com.amazon.sqs.javamessaging.ProviderConfiguration;
import com.amazon.sqs.javamessaging.SQSConnection;
import com.amazon.sqs.javamessaging.SQSConnectionFactory;
import com.amazon.sqs.javamessaging.SQSSession;
import jakarta.jms.BytesMessage;
import jakarta.jms.InvalidDestinationException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;
import jakarta.jms.TextMessage;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.model.CreateQueueRequest;
import software.amazon.awssdk.services.sqs.model.QueueAttributeName;

/** Jakarta Messaging over SQS, by amazon-sqs-java-messaging-lib: Jms ENDPOINT. */
final class Jms {
    private final Scenarios scenarios;
    private final SqsClient sqs;
    private int count;

    Jms(String endpoint) {
        scenarios = new Scenarios(endpoint);
        sqs = scenarios.pointed(SqsClient.builder()).build();
    }

    public static void main(String[] arguments) {
        new Jms(arguments[0]).run();
        System.exit(0);
    }

    private void run() {
        Map<String, Scenarios.Scenario> all = new LinkedHashMap<>();
        all.put("a text with properties goes round, and its acknowledgement deletes it", this::aTextGoesRound);
        all.put("a listener is called as soon as there is a message", this::aListenerIsCalled);
        all.put("bytes go round", this::bytesGoRound);
        all.put("what is not acknowledged comes again", this::whatIsNotAcknowledgedComesAgain);
        all.put("a FIFO queue keeps the order of a group", this::aFifoQueueKeepsOrder);
        all.put("a queue that is not there is JMS's InvalidDestinationException", this::aMissingQueueIsTold);
        scenarios.run(all);
    }

    /** Not closed: that waits for the long poll under way, up to 20 seconds, on AWS as here. */
    private SQSConnection connected() throws Exception {
        return new SQSConnectionFactory(new ProviderConfiguration(), sqs).createConnection();
    }

    private String queue(SQSConnection connection, boolean fifo) throws Exception {
        String name = "jms-" + ++count + (fifo ? ".fifo" : "");
        AmazonSQSMessagingClientWrapper client = connection.getWrappedAmazonSQSClient();
        Scenarios.check(!client.queueExists(name), "it is there before it is made");
        client.createQueue(CreateQueueRequest.builder().queueName(name)
                .attributes(fifo ? Map.of(QueueAttributeName.FIFO_QUEUE, "true") : Map.of()).build());
        Scenarios.check(client.queueExists(name), "it is not there after it was made");
        return name;
    }

    private void aTextGoesRound() throws Exception {
        SQSConnection connection = connected();
        String name = queue(connection, false);
        Session session = connection.createSession(false, SQSSession.UNORDERED_ACKNOWLEDGE);
        MessageConsumer consumer = session.createConsumer(session.createQueue(name));
        connection.start();
        TextMessage sent = session.createTextMessage("grüße 🌍");
        sent.setStringProperty("kind", "invoice");
        sent.setIntProperty("amount", 7);
        sent.setBooleanProperty("paid", true);
        sent.setJMSCorrelationID("order 12");
        session.createProducer(session.createQueue(name)).send(sent);
        TextMessage got = (TextMessage) consumer.receive(10_000);
        Scenarios.same("grüße 🌍", got.getText());
        Scenarios.same("invoice", got.getStringProperty("kind"));
        Scenarios.same(7, got.getIntProperty("amount"));
        Scenarios.same(true, got.getBooleanProperty("paid"));
        Scenarios.same("order 12", got.getJMSCorrelationID());
        Scenarios.same(sent.getJMSMessageID(), got.getJMSMessageID());
        Scenarios.same(1, got.getIntProperty("JMSXDeliveryCount"));
        got.acknowledge();
        scenarios.advance(31);
        Scenarios.check(consumer.receiveNoWait() == null, "an acknowledged message came again");
    }

    private void aListenerIsCalled() throws Exception {
        SQSConnection connection = connected();
        String name = queue(connection, false);
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        BlockingQueue<Message> got = new LinkedBlockingQueue<>();
        session.createConsumer(session.createQueue(name)).setMessageListener(got::add);
        connection.start();
        Thread.sleep(200); // so that it waits before there is anything
        Session other = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        long began = System.nanoTime();
        other.createProducer(other.createQueue(name)).send(other.createTextMessage("now"));
        TextMessage message = (TextMessage) got.poll(10, TimeUnit.SECONDS);
        long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began);
        Scenarios.same("now", message.getText());
        Scenarios.check(took < 1000, "it took " + took + " ms");
    }

    private void bytesGoRound() throws Exception {
        SQSConnection connection = connected();
        String name = queue(connection, false);
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        BytesMessage sent = session.createBytesMessage();
        sent.writeBytes(new byte[] {0, -1, 7});
        session.createProducer(session.createQueue(name)).send(sent);
        connection.start();
        BytesMessage got = (BytesMessage) session.createConsumer(session.createQueue(name)).receive(10_000);
        byte[] bytes = new byte[(int) got.getBodyLength()];
        got.readBytes(bytes);
        Scenarios.same(List.of((byte) 0, (byte) -1, (byte) 7), List.of(bytes[0], bytes[1], bytes[2]));
    }

    private void whatIsNotAcknowledgedComesAgain() throws Exception {
        SQSConnection connection = connected();
        String name = queue(connection, false);
        Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
        session.createProducer(session.createQueue(name)).send(session.createTextMessage("try"));
        MessageConsumer consumer = session.createConsumer(session.createQueue(name));
        connection.start();
        Scenarios.check(consumer.receive(10_000) != null, "nothing came");
        session.recover(); // makes what is not acknowledged visible again
        Message again = consumer.receive(10_000);
        Scenarios.check(again.getJMSRedelivered(), "it is not told that this is another try");
        Scenarios.same(2, again.getIntProperty("JMSXDeliveryCount"));
        again.acknowledge();
    }

    private void aFifoQueueKeepsOrder() throws Exception {
        SQSConnection connection = connected();
        String name = queue(connection, true);
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageProducer producer = session.createProducer(session.createQueue(name));
        for (int n = 0; n < 12; n++) {
            TextMessage message = session.createTextMessage("" + n);
            message.setStringProperty("JMSXGroupID", "group-" + n % 2);
            message.setStringProperty("JMS_SQS_DeduplicationId", "once-" + n);
            producer.send(message);
            producer.send(message);
        }
        MessageConsumer consumer = session.createConsumer(session.createQueue(name));
        connection.start();
        Map<String, List<String>> order = new LinkedHashMap<>();
        for (int n = 0; n < 12; n++) {
            TextMessage message = (TextMessage) consumer.receive(10_000);
            order.computeIfAbsent(message.getStringProperty("JMSXGroupID"), g -> new ArrayList<>()).add(message.getText());
        }
        Scenarios.same(List.of("0", "2", "4", "6", "8", "10"), order.get("group-0"));
        Scenarios.same(List.of("1", "3", "5", "7", "9", "11"), order.get("group-1"));
    }

    private void aMissingQueueIsTold() throws Exception {
        SQSConnection connection = connected();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Scenarios.fails(InvalidDestinationException.class, () -> session.createQueue("nowhere"));
    }
}
