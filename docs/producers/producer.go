// Sends usage from standard input to the queue: `QUEUE_URL=… go run producer.go < usage.ndjson`. Needs aws-sdk-go-v2.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

type used struct {
	Order, Customer, At string
	Line                int
	Calls               json.Number // a number stays as it was written
}

// The same usage gives the same uid, however often it is sent: after a timeout, a crash, a second run.
func measurement(u used) map[string]any {
	uid := fmt.Sprintf("%s/line-%d", u.Order, u.Line)
	return map[string]any{"uid": uid, "meter": "api_calls", "account": u.Customer, "ts": u.At, "measure": map[string]any{"calls": u.Calls}}
}

func main() {
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	check(err)
	queue := sqs.NewFromConfig(settings) // tries a failed call again by itself, with the same body

	var found []map[string]any
	for lines := json.NewDecoder(os.Stdin); lines.More(); {
		var u used
		check(lines.Decode(&u))
		found = append(found, measurement(u))
	}
	for start := 0; start < len(found); start += 100 {
		body, err := json.Marshal(map[string]any{"measurements": found[start:min(start+100, len(found))]})
		check(err)
		_, err = queue.SendMessage(ctx, &sqs.SendMessageInput{
			QueueUrl:    aws.String(os.Getenv("QUEUE_URL")),
			MessageBody: aws.String(string(body)),
		})
		check(err)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err) // nothing is lost: run it again with the same input
	}
}
