// The Go SDK v2: consumers ENDPOINT. It sends JSON, checks MD5s, and has errors of its own types.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

var (
	endpoint string
	client   *sqs.Client
	every    = context.Background()
	count    int
)

func newQueue(attributes map[string]string) *string {
	count++
	name := fmt.Sprintf("go-%d", count)
	if attributes["FifoQueue"] == "true" {
		name += ".fifo"
	}
	return must(client.CreateQueue(every, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})).QueueUrl
}

func send(queue *string, body string) *sqs.SendMessageOutput {
	return must(client.SendMessage(every, &sqs.SendMessageInput{QueueUrl: queue, MessageBody: &body}))
}

func receive(queue *string, wait int32) []types.Message {
	return must(client.ReceiveMessage(every, &sqs.ReceiveMessageInput{
		QueueUrl: queue, MaxNumberOfMessages: 10, WaitTimeSeconds: wait,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})).Messages
}

func remove(queue *string, message types.Message) {
	must(client.DeleteMessage(every, &sqs.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: message.ReceiptHandle}))
}

// fails checks that err is of the SDK's type T, and that its message contains text.
func fails[T error](err error, text string) T {
	var typed T
	check(errors.As(err, &typed), "expected a %T, got %v", typed, err)
	check(strings.Contains(err.Error(), text), "expected %q in %v", text, err)
	return typed
}

func aJobGoesRound() {
	queue := newQueue(nil)
	sent := send(queue, "grüße 🌍\r\n<&>")
	job := receive(queue, 0)[0]
	check(*job.Body == "grüße 🌍\r\n<&>", "the body was %q", *job.Body)
	check(*job.MessageId == *sent.MessageId, "another message came")
	remove(queue, job)
	advance(endpoint, 31)
	check(len(receive(queue, 0)) == 0, "a deleted job came again")
}

func aClientIsPointedByTheEnvironment() {
	pointed := sqs.NewFromConfig(must(config.LoadDefaultConfig(every)))
	sent := must(pointed.SendMessage(every, &sqs.SendMessageInput{QueueUrl: newQueue(nil), MessageBody: aws.String("x")}))
	check(sent.MessageId != nil, "nothing was sent")
}

func attributesComeBackWithDigests() {
	queue := newQueue(nil)
	sent := must(client.SendMessage(every, &sqs.SendMessageInput{
		QueueUrl: queue, MessageBody: aws.String("x"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"text":   {DataType: aws.String("String"), StringValue: aws.String("ü")},
			"number": {DataType: aws.String("Number.int"), StringValue: aws.String("7")},
			"bytes":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255, 128}},
		},
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1-5759e988-bd862e3fe1be46a994272793")},
		},
	}))
	message := receive(queue, 0)[0]
	check(*message.MD5OfMessageAttributes == *sent.MD5OfMessageAttributes, "the digests differ")
	check(slices.Equal(message.MessageAttributes["bytes"].BinaryValue, []byte{0, 255, 128}), "the bytes differ")
	check(*message.MessageAttributes["text"].StringValue == "ü", "the text differs")
	check(*message.MessageAttributes["number"].DataType == "Number.int", "the type differs")
	check(message.Attributes["ApproximateReceiveCount"] == "1", "counts: %v", message.Attributes)
	check(strings.HasPrefix(message.Attributes["AWSTraceHeader"], "Root="), "no trace: %v", message.Attributes)
}

func aWaitingReceiverIsServedPromptly() {
	queue := newQueue(nil)
	got := make(chan time.Time)
	go func() {
		receive(queue, 20)
		got <- time.Now()
	}()
	time.Sleep(200 * time.Millisecond) // so that it waits before there is anything
	began := time.Now()
	send(queue, "now")
	took := (<-got).Sub(began)
	check(took < time.Second, "it took %v", took)
}

func aCancelledWaitTakesNoMessage() {
	queue := newQueue(nil)
	short, cancel := context.WithTimeout(every, 100*time.Millisecond)
	defer cancel()
	_, err := client.ReceiveMessage(short, &sqs.ReceiveMessageInput{QueueUrl: queue, WaitTimeSeconds: 20})
	check(errors.Is(err, context.DeadlineExceeded), "the wait ended with %v", err)
	send(queue, "for who comes next")
	check(len(receive(queue, 20)) == 1, "the message went to who had left")
}

func aVisibilityTimeoutIsExtendedAndEnded() {
	queue := newQueue(map[string]string{"VisibilityTimeout": "10"})
	send(queue, "long work")
	job := receive(queue, 0)[0]
	change := func(seconds int32) {
		must(client.ChangeMessageVisibility(every, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: queue, ReceiptHandle: job.ReceiptHandle, VisibilityTimeout: seconds,
		}))
	}
	advance(endpoint, 9)
	change(60)
	advance(endpoint, 50)
	check(len(receive(queue, 0)) == 0, "the job came back while it was held")
	change(0)
	check(len(receive(queue, 0)) == 1, "the job did not come back")
}

func batchesTellWhatWentAndWhatDidNot() {
	queue := newQueue(nil)
	sent := must(client.SendMessageBatch(every, &sqs.SendMessageBatchInput{
		QueueUrl: queue, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("good"), MessageBody: aws.String("1")},
			{Id: aws.String("bad"), MessageBody: aws.String("2"), DelaySeconds: 901},
			{Id: aws.String("fine"), MessageBody: aws.String("3")},
		},
	}))
	check(len(sent.Successful) == 2 && len(sent.Failed) == 1, "sent: %v, not: %v", sent.Successful, sent.Failed)
	check(*sent.Failed[0].Id == "bad" && sent.Failed[0].SenderFault, "failed: %v", sent.Failed[0])
	var held []types.ChangeMessageVisibilityBatchRequestEntry
	var done []types.DeleteMessageBatchRequestEntry
	for _, message := range receive(queue, 0) {
		held = append(held, types.ChangeMessageVisibilityBatchRequestEntry{
			Id: message.MessageId, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: 60,
		})
		done = append(done, types.DeleteMessageBatchRequestEntry{Id: message.MessageId, ReceiptHandle: message.ReceiptHandle})
	}
	changed := must(client.ChangeMessageVisibilityBatch(every, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: queue, Entries: held}))
	check(len(changed.Successful) == 2, "held: %v", changed)
	deleted := must(client.DeleteMessageBatch(every, &sqs.DeleteMessageBatchInput{QueueUrl: queue, Entries: done}))
	check(len(deleted.Successful) == 2 && len(deleted.Failed) == 0, "deleted: %v", deleted)
}

func aFifoQueueKeepsTheOrderOfAGroup() {
	queue := newQueue(map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
	for _, group := range []string{"a", "b"} {
		for _, n := range []int{1, 2, 2, 3} {
			must(client.SendMessage(every, &sqs.SendMessageInput{
				QueueUrl: queue, MessageGroupId: &group, MessageBody: aws.String(fmt.Sprint(group, n)),
			}))
		}
	}
	order := map[string][]string{}
	for left := 6; left > 0; {
		messages := receive(queue, 0)
		check(len(messages) > 0, "nothing came with %d to come", left)
		for _, message := range messages {
			group := message.Attributes["MessageGroupId"]
			order[group] = append(order[group], *message.Body)
			check(len(message.Attributes["SequenceNumber"]) == 20, "attributes: %v", message.Attributes)
			remove(queue, message)
			left--
		}
	}
	check(slices.Equal(order["a"], []string{"a1", "a2", "a3"}), "order: %v", order)
	check(slices.Equal(order["b"], []string{"b1", "b2", "b3"}), "order: %v", order)
}

func errorsAreOfTheSdksOwnTypes() {
	queue := newQueue(nil)
	_, err := client.GetQueueUrl(every, &sqs.GetQueueUrlInput{QueueName: aws.String("nowhere")})
	missing := fails[*types.QueueDoesNotExist](err, "The specified queue does not exist.")
	check(missing.ErrorCode() == "AWS.SimpleQueueService.NonExistentQueue", "its code is %s", missing.ErrorCode())
	var status interface{ HTTPStatusCode() int }
	check(errors.As(err, &status) && status.HTTPStatusCode() == http.StatusBadRequest, "its status: %v", err)
	var id interface{ ServiceRequestID() string }
	check(errors.As(err, &id) && id.ServiceRequestID() != "", "it has no request id: %v", err)

	name := (*queue)[strings.LastIndex(*queue, "/")+1:]
	_, err = client.CreateQueue(every, &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"DelaySeconds": "7"}})
	fails[*types.QueueNameExists](err, "DelaySeconds")
	_, err = client.SendMessageBatch(every, &sqs.SendMessageBatchInput{QueueUrl: queue, Entries: []types.SendMessageBatchRequestEntry{}})
	fails[*types.EmptyBatchRequest](err, "")
	_, err = client.DeleteMessage(every, &sqs.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: aws.String("x")})
	fails[*types.ReceiptHandleIsInvalid](err, "")
	_, err = client.SendMessage(every, &sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String("\x01")})
	fails[*types.InvalidMessageContents](err, "")
	_, err = client.SetQueueAttributes(every, &sqs.SetQueueAttributesInput{QueueUrl: queue, Attributes: map[string]string{"Foo": "1"}})
	fails[*types.InvalidAttributeName](err, "Foo")
	_, err = client.StartMessageMoveTask(every, &sqs.StartMessageMoveTaskInput{SourceArn: aws.String("arn:aws:sqs:us-east-1:000000000000:nowhere")})
	fails[*types.ResourceNotFoundException](err, "")
	_, err = client.SendMessage(every, &sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String("x"), DelaySeconds: 901})
	unmodelled := fails[smithy.APIError](err, "")
	check(unmodelled.ErrorCode() == "InvalidParameterValue", "its code is %s", unmodelled.ErrorCode())
}

func aBodyChangedOnTheWayIsNoticed() {
	queue := newQueue(nil)
	_, err := client.SendMessage(every, &sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String("x")}, func(o *sqs.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("tamper", func(
				ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
			) (middleware.DeserializeOutput, middleware.Metadata, error) {
				out, metadata, err := next.HandleDeserialize(ctx, in)
				if sent, ok := out.Result.(*sqs.SendMessageOutput); ok {
					sent.MD5OfMessageBody = aws.String(strings.Repeat("0", 32))
				}
				return out, metadata, err
			}), middleware.Before)
		})
	})
	check(err != nil && strings.Contains(err.Error(), "MD5"), "the tampering was answered with %v", err)
}

func thePaginatorWalksOverAllQueues() {
	var made, found []string
	for n := range 5 {
		name := fmt.Sprintf("paged-%d", n)
		made = append(made, *must(client.CreateQueue(every, &sqs.CreateQueueInput{QueueName: &name})).QueueUrl)
	}
	pages := sqs.NewListQueuesPaginator(client, &sqs.ListQueuesInput{
		QueueNamePrefix: aws.String("paged-"), MaxResults: aws.Int32(2),
	})
	for pages.HasMorePages() {
		page := must(pages.NextPage(every))
		check(len(page.QueueUrls) <= 2, "a page of %d", len(page.QueueUrls))
		found = append(found, page.QueueUrls...)
	}
	check(slices.Equal(found, made), "found %v", found)
}

func workersShareJobsEachDoneOnce() {
	queue := newQueue(nil)
	const jobs = 200
	var sending sync.WaitGroup
	for n := range jobs {
		sending.Go(func() { send(queue, fmt.Sprint(n)) })
	}
	sending.Wait()
	done := make(chan string, 2*jobs)
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for {
				messages := receive(queue, 0)
				if len(messages) == 0 {
					return
				}
				for _, message := range messages {
					done <- *message.Body
					remove(queue, message)
				}
			}
		})
	}
	working.Wait()
	close(done)
	times := map[string]int{}
	for body := range done {
		times[body]++
	}
	check(len(times) == jobs, "%d of %d were done", len(times), jobs)
	for body, n := range times {
		check(n == 1, "%s was done %d times", body, n)
	}
}

func main() {
	endpoint = os.Args[1]
	settings := must(config.LoadDefaultConfig(every,
		config.WithBaseEndpoint(endpoint),
		config.WithRegion("us-east-1"),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("test", "test", "")),
	))
	client = sqs.NewFromConfig(settings)
	run([]scenario{
		{"a job goes round", aJobGoesRound},
		{"the environment alone points a client", aClientIsPointedByTheEnvironment},
		{"message attributes come back with digests that the SDK checks", attributesComeBackWithDigests},
		{"a body that was changed on the way is noticed, so the check is on", aBodyChangedOnTheWayIsNoticed},
		{"a receiver that waits gets the message promptly", aWaitingReceiverIsServedPromptly},
		{"a wait that was cancelled takes no message", aCancelledWaitTakesNoMessage},
		{"a visibility timeout is extended, and ended", aVisibilityTimeoutIsExtendedAndEnded},
		{"batches tell what went and what did not", batchesTellWhatWentAndWhatDidNot},
		{"a FIFO queue keeps the order of a group and swallows duplicates", aFifoQueueKeepsTheOrderOfAGroup},
		{"errors are of the SDK's own types", errorsAreOfTheSdksOwnTypes},
		{"the paginator walks over all queues", thePaginatorWalksOverAllQueues},
		{"workers share two hundred jobs, each done once", workersShareJobsEachDoneOnce},
	})
}
