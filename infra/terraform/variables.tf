# Made from the parameters of template.yaml by `python -m infra.terraform`: change them there. They have the names that they have
# there, so that docs and descriptions hold for both. CloudFormation says what is wrong with a value.

locals {
  parameters = {
    M3terOrgId             = var.M3terOrgId
    RequestsPerSecond      = var.RequestsPerSecond
    MaximumConcurrency     = var.MaximumConcurrency
    BatchesInFlight        = var.BatchesInFlight
    BatchingWindowSeconds  = var.BatchingWindowSeconds
    FunctionTimeoutSeconds = var.FunctionTimeoutSeconds
    WatchMinutes           = var.WatchMinutes
    M3terApiUrl            = var.M3terApiUrl
    M3terIngestUrl         = var.M3terIngestUrl
    MissingUid             = var.MissingUid
    ExhaustAfterDays       = var.ExhaustAfterDays
    LedgerMode             = var.LedgerMode
    LedgerWrite            = var.LedgerWrite
    LedgerRetentionDays    = var.LedgerRetentionDays
    PayloadBuckets         = var.PayloadBuckets
    Preflight              = var.Preflight
    LogRetentionDays       = var.LogRetentionDays
    Architecture           = var.Architecture
    ExistingQueueArn       = var.ExistingQueueArn
    AlarmTopicArn          = var.AlarmTopicArn
    KmsKeyArn              = var.KmsKeyArn
    SubnetIds              = var.SubnetIds
    SecurityGroupIds       = var.SecurityGroupIds
    Tracing                = var.Tracing
  }
}

variable "M3terOrgId" {
  description = "The m3ter organisation that measurements are submitted to, as its id in m3ter's console."
  type        = string
}

variable "RequestsPerSecond" {
  description = "Requests a second to m3ter's ingest API from the whole stack, 1 to 50. More drains a backlog faster; less leaves more of m3ter's allowance (5,000 requests in 5 minutes per address, 50 a second per organisation) to your other senders."
  type        = number
  default     = 16
}

variable "MaximumConcurrency" {
  description = "Invocations at the same time, 2 to 1,000. More drains a backlog faster while RequestsPerSecond allows it; less gives each invocation a larger share of it."
  type        = number
  default     = 4
}

variable "BatchesInFlight" {
  description = "Batches one invocation submits at the same time, 1 to 16. More hides m3ter's latency and shortens invocations; less needs less memory and opens fewer connections."
  type        = number
  default     = 4
}

variable "BatchingWindowSeconds" {
  description = "Seconds Lambda waits to gather messages. More gives fuller, fewer submissions; less gives fresher usage data."
  type        = string
  default     = "20"
}

variable "FunctionTimeoutSeconds" {
  description = "Seconds an invocation may take. More lets it wait out a slow m3ter; less returns messages sooner when an invocation dies, since the queue's visibility timeout follows from it. 5 is for trying out what happens when invocations die."
  type        = string
  default     = "60"
}

variable "WatchMinutes" {
  description = "Minutes between two looks at what m3ter rejected after it had accepted it. More asks m3ter less often and costs less; less quarantines sooner what was rejected, and rings sooner."
  type        = string
  default     = "5"
}

variable "M3terApiUrl" {
  description = "Where tokens are fetched. Change it for another m3ter environment. Plain http is for loopback only."
  type        = string
  default     = "https://api.m3ter.com"
}

variable "M3terIngestUrl" {
  description = "Where measurements are submitted. Change it for another m3ter environment. Plain http is for loopback only."
  type        = string
  default     = "https://ingest.m3ter.com"
}

variable "MissingUid" {
  description = "What becomes of a measurement without a uid. refuse quarantines it; content derives the uid from what it says, so equal measurements collapse into one."
  type        = string
  default     = "refuse"
}

variable "ExhaustAfterDays" {
  description = "Days after which a message that still cannot be settled is quarantined, 1 to 10. More waits longer for m3ter to recover; less keeps a larger distance from the 14 days after which SQS drops it. Beyond 10 days the queue could give a message up first, by its count of receives."
  type        = number
  default     = 10
}

variable "LedgerMode" {
  description = "What the ledger keeps of each measurement. full keeps all of it; uids keeps only its uid, its times and m3ter's answer; off keeps nothing. Less holds less usage data, and gives up what docs/STORE.md lists."
  type        = string
  default     = "full"
}

variable "LedgerWrite" {
  description = "Whether a message waits for its ledger. required returns it until the ledger is written, and it is submitted again; best-effort lets it go, and loses what the ledger would have said of it while the store fails."
  type        = string
  default     = "required"
}

variable "LedgerRetentionDays" {
  description = "Days the ledger is kept. More lets you explain older usage; less holds less and costs less. After 30 days it moves to cheaper storage. The quarantine is kept until you drop what is in it."
  type        = number
  default     = 400
}

variable "PayloadBuckets" {
  description = "Buckets that bodies may be read from which were too large for the queue (Amazon's extended client), with commas between them. A message that points to another bucket is returned."
  type        = string
  default     = ""
}

variable "Preflight" {
  description = "What comes of a measurement whose meter, data fields or account do not fit what m3ter had when it was last asked. off looks at nothing; warn counts and sends it; quarantine keeps what m3ter would turn down or book on an account that nobody meant. quarantine finds mistakes before they are billed, but also holds back usage of a meter that was made within the last hour."
  type        = string
  default     = "warn"
}

variable "LogRetentionDays" {
  description = "Days the functions' logs are kept. More lets you look further back; less costs less. They never hold usage data."
  type        = number
  default     = 30
}

variable "Architecture" {
  description = "What the functions were built for. arm64 costs a fifth less a second; x86_64 suits a build machine that has no other."
  type        = string
  default     = "arm64"
}

variable "ExistingQueueArn" {
  description = "The standard queue that usage arrives on, if there is one already, in this region and account. Empty makes one. An existing one stays yours: the stack changes nothing about it, and `usage-relay doctor` says what it needs."
  type        = string
  default     = ""
}

variable "AlarmTopicArn" {
  description = "The SNS topic that every alarm tells when it rings and when it is over. Empty tells nobody; the alarms are there all the same."
  type        = string
  default     = ""
}

variable "KmsKeyArn" {
  description = "A key of your own for queues, bucket, secret and logs. Empty leaves encryption to keys that AWS owns. Its policy must let CloudWatch Logs and S3 use it, and producers need kms:GenerateDataKey and kms:Decrypt then (docs/STACK.md)."
  type        = string
  default     = ""
}

variable "SubnetIds" {
  description = "Private subnets for the functions, with commas between them. Empty keeps them out of your VPC. From there they must reach m3ter, S3, SQS and Secrets Manager, through a NAT gateway or endpoints; without a way they start, and everything stays in the queue."
  type        = string
  default     = ""
}

variable "SecurityGroupIds" {
  description = "Security groups for the functions in those subnets, with commas between them. They must let port 443 out. Both or neither are given."
  type        = string
  default     = ""
}

variable "Tracing" {
  description = "Whether X-Ray draws each invocation. Active records them, at a price for each; PassThrough only passes on what a caller began. The trace id on requests to m3ter is there either way."
  type        = string
  default     = "PassThrough"
}
